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


def texts(name: str, array: npt.NDArray[Any]) -> list[str]:
    """Return a STRING tensor's elements; raise ValueError naming the tensor when one is not UTF-8."""
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not valid UTF-8: {error}") from error
