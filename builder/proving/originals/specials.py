"""Rows with values that a random draw never meets: zero, what stands for an absent value, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Arrays, Original

Kinds = Sequence[Sequence[Any]]
"""Values of one column by their kind: each kind is drawn as often as every other, however many it has."""

_SHARE = 0.5
"""How many of the values of a row are special."""


def around(thresholds: Sequence[float]) -> list[float]:
    """Return each threshold that is finite as a float32, with the next such number on either side."""
    import numpy as np

    found = np.unique(np.asarray(thresholds, np.float32))
    found = found[np.isfinite(found)]
    sides = [np.nextafter(found, np.float32(side)) for side in (-np.inf, np.inf)]
    every = np.concatenate([found, *sides])
    return [float(one) for one in every[np.isfinite(every)]]


def rows(config: Mapping[str, Any], known: Sequence[Kinds], drawn: Arrays, predict: Original) -> Arrays:
    """Return the drawn rows with special values in half of their places.

    Args:
        config: what the source wrote of the model.
        known: for each column what is special to the model; empty where there is nothing.
        drawn: rows as `drawing.samples` makes them.
        predict: the model; what it refuses, or has no answer for, is no special value of that column.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    found = {name: values.copy() for name, values in drawn.items()}
    for (name, place), kinds in _taken(_candidates(config, known), drawn, predict).items():
        column = found[name][:, place]
        for row in np.flatnonzero(generator.random(len(column)) < _SHARE):
            kind = kinds[generator.integers(len(kinds))]
            column[row] = kind[generator.integers(len(kind))]
    return found


Place = tuple[str, int]


def _candidates(config: Mapping[str, Any], known: Sequence[Kinds]) -> dict[Place, list[Sequence[Any]]]:
    found: dict[Place, list[Sequence[Any]]] = {}
    for entry in config["inputs"]:
        for place in range(entry["dims"][0]):
            of_model = known[len(found)] if known else []
            found[entry["name"], place] = [*_usual(entry, place), *(list(kind) for kind in of_model if kind)]
    return found


def _usual(entry: Mapping[str, Any], place: int) -> Iterator[list[Any]]:
    """Yield what is special in every column of that type."""
    categories = entry.get("categories", [])
    if entry["data_type"] == "STRING":
        yield ["", "None", "nan"]
        yield ["a category that training never saw"]
        return
    if categories:
        yield [max(categories) + 1]
        yield [-1]
    low, high = entry["ranges"][place] if "ranges" in entry else (0.0, 0.0)
    if low <= 0 <= high:
        # far outside of what was learned, rounding alone says more than an answer
        yield [0]
    if entry["data_type"] in ("FP32", "FP64"):
        yield [float("nan")]


def _taken(
    candidates: dict[Place, list[Sequence[Any]]], drawn: Arrays, predict: Original
) -> dict[Place, list[Sequence[Any]]]:
    """Return the kinds that the model takes, each asked for by its first value; a column with none is out."""
    most = max((len(kinds) for kinds in candidates.values()), default=0)
    found: dict[Place, list[Sequence[Any]]] = {}
    for number in range(most):
        asked = {place: kinds[number] for place, kinds in candidates.items() if number < len(kinds)}
        # most models take all of them or none
        together = _answers(predict, _with(drawn, asked))
        for place, kind in asked.items():
            if together or _answers(predict, _with(drawn, {place: kind})):
                found.setdefault(place, []).append(kind)
    return found


def _with(drawn: Arrays, asked: Mapping[Place, Sequence[Any]]) -> Arrays:
    row = {name: values[:1].copy() for name, values in drawn.items()}
    for (name, place), kind in asked.items():
        row[name][0, place] = kind[0]
    return row


def _answers(predict: Callable[[Arrays], Arrays], row: Arrays) -> bool:
    import numpy as np

    try:
        answers = predict(row)
    except Exception:
        # each library, and each step of a pipeline, refuses in its own way
        return False
    return not any(one.dtype.kind == "f" and bool(np.isnan(one).any()) for one in answers.values())
