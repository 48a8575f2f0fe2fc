"""Rows of a table at random, answered by the model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples

LAYOUTS = ("one after the other",)
_ROWS = 200
_ASKED = 48
_RESOLUTION = 1e-3
"""With the tolerance of float32, a thousandth, errors of 1e-6 of a number: eight roundings."""
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
    return Samples(cases, asks, scale=_scale(answers) if asked.config["kind"] == "regressor" else None)


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return each column [rows, 1], or the features [rows, columns]."""
    return {name: np.concatenate([case.given[name] for case in cases]) for name in cases[0].given}


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return each row."""
    return list(output)


def _compared(answers: dict[str, Array]) -> str:
    """Return the output that says most: probabilities where there are any, for classes jump at a boundary."""
    return "probabilities" if "probabilities" in answers else "prediction"


def _scale(answers: dict[str, Array]) -> Array:
    """Return of each number that a regressor predicts how far the source's own predictions lie apart.

    The tolerance is a share of that, so that it is as strict for thousandths as for millions, and for
    millions that differ by ten. Where they differ by less than float32 can tell well, it is _RESOLUTION of
    their size; where the source always predicts 0 there is nothing to measure by, and it is 1.
    """
    found = np.asarray(answers["prediction"], np.float64)
    known = np.isfinite(found)
    least = found.min(axis=0, where=known, initial=np.inf)
    most = found.max(axis=0, where=known, initial=-np.inf)
    size = np.abs(found).max(axis=0, where=known, initial=0.0)
    scale = np.maximum(most - least, _RESOLUTION * size)
    return np.where(scale > 0, scale, 1.0)


def _values(given: dict[str, Array]) -> dict[str, list[Any]]:
    return {name: values.reshape(-1).tolist() for name, values in given.items()}


def _digits(values: Array) -> list[float]:
    """Return numbers of any size as JSON would hold them."""
    return [float(f"{value:.7g}") for value in values.astype(np.float64)]


def _outputs(answers: dict[str, Array], row: int) -> dict[str, Any]:
    found = {name: np.asarray(values[row]).reshape(-1) for name, values in answers.items()}
    outputs = {
        name: values.tolist() if values.dtype.kind in "OUSi" else _digits(values)
        for name, values in found.items()
    }
    if "probabilities" in found:
        ordered = np.sort(found["probabilities"])
        if len(ordered) > 1 and ordered[-1] - ordered[-2] < _CLEAR:
            del outputs["prediction"]
    return outputs
