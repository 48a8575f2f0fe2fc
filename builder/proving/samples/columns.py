"""Rows of a table, at random and with special values, answered by the model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from builder import house
from builder.proving import edges
from builder.proving.originals import specials
from builder.proving.originals.drawing import CERTAIN
from builder.proving.sample import Array, Asked, Case, Samples
from builder.tabular.describing import PREDICTION, PROBABILITIES

LAYOUTS = ("one after the other",)
_ROWS, _SPECIAL = 200, 100
_ASKED = 48
_RESOLUTION = 1e-3
"""With the tolerance of float32, a thousandth, errors of 1e-6 of a number: eight roundings."""
_CLEAR = 0.02
"""Two classes this near may be told apart otherwise by float32."""


def reference(asked: Asked) -> str:
    """Return what answers for the source: the library that it was made with."""
    return f"the {asked.model_type} model itself"


def samples(asked: Asked) -> Samples:
    """Return rows with the source's predictions and probabilities, among them rows beside its thresholds.

    A class that is not certain says nothing: any rounding may choose the other.
    """
    module = house.plugin("proving.originals", asked.model_type, option="model_type")
    predict = module.load(asked.source, asked.config)
    columns = module.samples(asked.config, _ROWS, 0)
    if module.is_sharp(asked.source):
        near = edges.beside(
            columns, asked.config["inputs"], lambda rows: np.asarray(predict(rows)[asked.main])
        )
        columns = {name: np.concatenate([values, near[name]]) for name, values in columns.items()}
    usual = len(next(iter(columns.values())))
    known, drawn = module.specials(asked.source), module.samples(asked.config, _SPECIAL, 1)
    unusual = specials.rows(asked.config, known, drawn, predict)
    columns = {name: np.concatenate([values, unusual[name]]) for name, values in columns.items()}
    answers = predict(columns)
    is_regressor = asked.config["kind"] == "regressor"
    certain = answers.pop(CERTAIN, _clear(answers))
    cases, asks, decided = [], [], {}
    for row in range(usual + _SPECIAL):
        sort = "" if row < _ROWS else ", beside a threshold" if row < usual else ", with special values"
        name = f"row {row}{sort}"
        given = {column: values[row : row + 1] for column, values in columns.items()}
        if certain[row] or asked.main == PROBABILITIES:
            expected = np.asarray(answers[asked.main][row])
            numbers = expected.astype(np.float64) if expected.dtype.kind in "iuf" else expected
            cases.append(Case(name, given, numbers.reshape(-1)))
        if certain[row] and not is_regressor:
            decided[name] = answers[PREDICTION][row].reshape(-1)[0]
        outputs = _outputs(answers, row, bool(certain[row]))
        if row < _ASKED and outputs:
            asks.append({"id": name, "inputs": _values(given), "outputs": outputs})
    scale = _scale(answers) if is_regressor else None
    return Samples(cases, asks, scale=scale, decision="" if is_regressor else PREDICTION, decided=decided)


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return each column [rows, 1], or the features [rows, columns]."""
    return {name: np.concatenate([case.given[name] for case in cases]) for name in cases[0].given}


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return each row."""
    return list(output)


def _clear(answers: dict[str, Array]) -> Array:
    """Say of each row whether its best class is clear of the next, as far as probabilities tell."""
    if PROBABILITIES not in answers:
        return np.ones(len(answers[PREDICTION]), bool)
    ordered = np.sort(np.asarray(answers[PROBABILITIES]), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, :-1].max(axis=1, initial=0.0) >= _CLEAR)


def _scale(answers: dict[str, Array]) -> Array:
    """Return of each number that a regressor predicts how far the source's own predictions lie apart.

    The tolerance is a share of that, so that it is as strict for thousandths as for millions, and for
    millions that differ by ten. Where they differ by less than float32 can tell well, it is _RESOLUTION of
    their size; where the source always predicts 0 there is nothing to measure by, and it is 1.
    """
    found = np.asarray(answers[PREDICTION], np.float64)
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


def _outputs(answers: dict[str, Array], row: int, certain: bool) -> dict[str, Any]:
    found = {name: np.asarray(values[row]).reshape(-1) for name, values in answers.items()}
    outputs = {
        name: values.tolist() if values.dtype.kind in "OUSi" else _digits(values)
        for name, values in found.items()
    }
    return outputs if certain else {name: values for name, values in outputs.items() if name != PREDICTION}
