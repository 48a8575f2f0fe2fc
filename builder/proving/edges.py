"""Rows beside the thresholds of a model whose answers jump: there a lost bit shows, elsewhere hardly ever.

Between two rows with different answers there is a threshold. It is approached by halves, until what is left
between the two is a step of the type that requests hold, or 2^-40 of the larger in float64: far below a
step of float32, far above what the order of sums changes in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from builder.proving.sample import Array

_MOST = 48
_FINEST = 2.0**-40
_STEPS = 48
_SAME = 1e-6
"""Answers are alike that differ by less than this share of how far all of them lie apart."""

Rows = dict[str, Array]


def beside(columns: Rows, inputs: list[Mapping[str, Any]], answer: Callable[[Rows], Array]) -> Rows:
    """Return pairs of rows, one after the other, that lie next to each other and are answered differently.

    Args:
        columns: drawn rows; what lies between each and the next is searched.
        inputs: the entries of a config, in which columns of categories are told from those of numbers.
        answer: the source's main output for rows.
    """
    numbers = [one["name"] for one in inputs if one["data_type"] in ("FP32", "FP64") and _varies(one)]
    low = {name: values.copy() for name, values in columns.items()}
    high = {name: values.copy() for name, values in columns.items()}
    _move(high, columns, numbers)
    first, last = answer(low), answer(high)
    unit = _unit(first)
    kept = np.flatnonzero((_apart(first, last) > _SAME * unit) & _finite(low, high, numbers))[:_MOST]
    low, high = _take(low, kept), _take(high, kept)
    first, last = first[kept], last[kept]
    size = {name: _FINEST * np.maximum(np.abs(low[name]), np.abs(high[name])) for name in numbers}
    for _ in range(_STEPS if len(kept) else 0):
        middle = {name: _middle(low[name], high[name], size.get(name)) for name in low}
        between = answer(middle)
        nearer = _apart(first, between) >= _apart(between, last)
        for name in numbers:
            high[name] = np.where(nearer[:, None], middle[name], high[name])
            low[name] = np.where(nearer[:, None], low[name], middle[name])
        rows = nearer.reshape(-1, *[1] * (first.ndim - 1))
        first, last = np.where(rows, first, between), np.where(rows, between, last)
    jumps = np.flatnonzero(_apart(first, last) > _SAME * unit)
    pairs = {name: np.stack([low[name], high[name]], axis=1)[jumps] for name in low}
    return {name: values.reshape(-1, *low[name].shape[1:]) for name, values in pairs.items()}


def _varies(entry: Mapping[str, Any]) -> bool:
    return "categories" not in entry


def _move(high: Rows, columns: Rows, numbers: list[str]) -> None:
    """Give each second row the numbers of the next, and the others one number of it, in turn."""
    places = [(name, place) for name in numbers for place in range(columns[name].shape[1])]
    for row in range(len(next(iter(columns.values()))) if places else 0):
        chosen = places if row % 2 else [places[row // 2 % len(places)]]
        for name, place in chosen:
            high[name][row, place] = columns[name][row - 1, place]


def _middle(low: Array, high: Array, size: Array | None) -> Array:
    if size is None:
        return low
    middle = (low.astype(np.float64) / 2 + high.astype(np.float64) / 2).astype(low.dtype)
    return np.where(np.abs(high.astype(np.float64) - low) <= size, low, middle)


def _finite(low: Rows, high: Rows, numbers: list[str]) -> Array:
    sides = [np.isfinite(side[name]).all(axis=1) for name in numbers for side in (low, high)]
    return np.logical_and.reduce(sides) if sides else np.zeros(len(next(iter(low.values()))), bool)


def _take(columns: Rows, places: Array) -> Rows:
    return {name: values[places] for name, values in columns.items()}


def _apart(one: Array, other: Array) -> Array:
    """Return how far the answers to each row lie apart, of texts 1 where they differ."""
    if one.dtype.kind in "fiu":
        gap = np.abs(one.astype(np.float64) - other)
    else:
        gap = np.asarray(one != other, np.float64)
    return np.asarray(gap.max(axis=tuple(range(1, gap.ndim)), initial=0.0))


def _unit(answers: Array) -> float:
    if answers.dtype.kind not in "fiu":
        return 1.0
    known = answers[np.isfinite(answers)]
    return (float(np.ptp(known)) if len(known) else 0.0) or 1.0
