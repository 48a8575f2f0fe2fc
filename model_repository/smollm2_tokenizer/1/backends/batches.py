"""Requests of a dynamic batch: each is read and answered by itself, the work is done once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def padded(rows: Sequence[Sequence[int]], pad: int) -> npt.NDArray[np.int32]:
    """Return rows of ids as int32 [rows, longest], filled up with `pad`."""
    longest = max((len(row) for row in rows), default=0)
    array = np.full((len(rows), longest), pad, dtype=np.int32)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return array


def together(rows: Sequence[Sequence[int]], fill: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return rows of ids one after the other, and how many ids each takes.

    Triton hands tensors over whose first dimension is the rows: the ids are int32 [rows, W], W the least for
    which they fit, with `fill` at the end; the widths int32 [rows], their lengths but for the last row's,
    which takes what fills up, fewer than there are rows.
    """
    widths = np.array([len(row) for row in rows], dtype=np.int32)
    used = int(widths.sum())
    array = np.full((len(rows), -(-used // max(1, len(rows)))), fill, dtype=np.int32)
    array.reshape(-1)[:used] = [one for row in rows for one in row]
    if len(rows):
        widths[-1] += array.size - used
    return array, widths


def extent(rows: int, longest: int) -> npt.NDArray[np.int32]:
    """Return int32 [rows, n] with at least `longest` elements: what of a request's size Triton can tell."""
    return np.zeros((rows, -(-longest // max(1, rows))), dtype=np.int32)


def texts(name: str, array: npt.NDArray[Any]) -> list[str]:
    """Return a STRING tensor's elements; raise ValueError naming the tensor when one is not UTF-8."""
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not valid UTF-8: {error}") from error
