"""Floats of 16, 32 and 64 bits as whole numbers: which are none, and one kind turned into another.

numpy has no bfloat16, and the builder's core no torch; all rounding is to nearest, ties to even, as torch's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[Any]
"""Floats seen as unsigned whole numbers of the same width, little endian."""

UNSIGNED = {"BF16": "<u2", "F16": "<u2", "F32": "<u4", "F64": "<u8"}
SIGNED = {"BF16": "<i2", "F16": "<i2", "F32": "<i4", "F64": "<i8"}
INFINITY = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000, "F64": 0x7FF0000000000000}
"""The least whole number of a positive float that is no number: infinity, then every NaN."""

BLOCK = 1 << 17
"""Elements looked at together, few enough to stay in a core's cache for the second look."""


def nbytes(dtype: str) -> int:
    """Return the bytes of one number."""
    return np.dtype(UNSIGNED[dtype]).itemsize


def bits(raw: memoryview, dtype: str) -> Bits:
    """Return a buffer as whole numbers; nothing is copied."""
    return np.frombuffer(raw, dtype=UNSIGNED[dtype])


def is_finite(values: Bits, dtype: str) -> bool:
    """Say whether all are numbers.

    Infinities and NaN are the largest of the positive floats, seen as signed numbers, and the largest of
    all, seen as unsigned ones: two maxima, and nothing is written.
    """
    bound, flat = INFINITY[dtype], values.reshape(-1)
    negative = bound + (1 << (8 * values.itemsize - 1))
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        if int(block.view(SIGNED[dtype]).max()) >= bound or int(block.max()) >= negative:
            return False
    return True


def not_finite(values: Bits, dtype: str) -> Bits:
    """Return the places of those that are no numbers, counted through."""
    without_sign = (1 << (8 * values.itemsize - 1)) - 1
    found: Bits = np.flatnonzero((values.reshape(-1) & values.dtype.type(without_sign)) >= INFINITY[dtype])
    return found


def converted(values: Bits, source: str, wanted: str) -> Bits:
    """Return the same numbers as another kind of float; what is too large for it becomes infinite."""
    if source == wanted:
        return values
    wide = _as_float32(values, source)
    if wanted == "F32":
        return wide.view("<u4")
    if wanted == "BF16":
        return _as_bfloat16(wide.view("<u4"))
    with np.errstate(over="ignore"):
        return wide.astype("<f2").view("<u2")


def _as_float32(values: Bits, source: str) -> Bits:
    if source == "F32":
        return values.view("<f4")
    if source == "BF16":
        return (values.astype("<u4") << 16).view("<f4")
    floats = values.view("<f2" if source == "F16" else "<f8")
    with np.errstate(over="ignore"):
        return floats.astype("<f4")


def _as_bfloat16(values: Bits) -> Bits:
    """Add half of what falls away, less one where the last bit that stays is even, and cut."""
    last = (values >> np.uint32(16)) & np.uint32(1)
    rounded: Bits = ((values + np.uint32(0x7FFF) + last) >> np.uint32(16)).astype("<u2")
    return rounded
