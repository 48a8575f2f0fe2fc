"""Rows of a table at random, answered by the model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples, plain

LAYOUTS = ("one after the other",)
_ROWS = 200
_ASKED = 48
_CLEAR = 0.02
"""Two classes this near may be told apart otherwise by float32."""


def reference(asked: Asked) -> str:
    """Return what answers for the source: the library that it was made with."""
    return f"the {asked.model_type} model itself"


def samples(asked: Asked) -> Samples:
    """Return random rows with the source's predictions and probabilities."""
    module = house.plugin("proving.originals", asked.model_type, option="model_type")
    predict = module.load(asked.source, asked.config)
    columns = module.samples(asked.config, _ROWS, 0)
    answers = predict(columns)
    cases, asks = [], []
    for row in range(_ROWS):
        given = {name: values[row : row + 1] for name, values in columns.items()}
        cases.append(
            Case(f"row {row}", given, np.asarray(answers[_compared(answers)][row], np.float64).reshape(-1))
        )
        if row < _ASKED:
            asks.append({"id": f"row {row}", "inputs": _values(given), "outputs": _outputs(answers, row)})
    return Samples(cases, asks, scale=_scale(answers))


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return each column [rows, 1], or the features [rows, columns]."""
    return {name: np.concatenate([case.given[name] for case in cases]) for name in cases[0].given}


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return each row."""
    return list(output)


def _compared(answers: dict[str, Array]) -> str:
    """Return the output that says most: probabilities where there are any, for classes jump at a boundary."""
    return "probabilities" if "probabilities" in answers else "prediction"


def _scale(answers: dict[str, Array]) -> float:
    """Return the largest number of a regressor's predictions; classes have probabilities up to 1."""
    if "probabilities" in answers or np.asarray(answers["prediction"]).dtype.kind not in "fiu":
        return 1.0
    return max(1.0, float(np.abs(np.asarray(answers["prediction"], np.float64)).max()))


def _values(given: dict[str, Array]) -> dict[str, list[Any]]:
    return {name: values.reshape(-1).tolist() for name, values in given.items()}


def _outputs(answers: dict[str, Array], row: int) -> dict[str, Any]:
    found = {name: np.asarray(values[row]).reshape(-1) for name, values in answers.items()}
    outputs = {
        name: values.tolist() if values.dtype.kind in "OUSi" else plain(values)
        for name, values in found.items()
    }
    if "probabilities" in found:
        ordered = np.sort(found["probabilities"])
        if len(ordered) > 1 and ordered[-1] - ordered[-2] < _CLEAR:
            del outputs["prediction"]
    return outputs
