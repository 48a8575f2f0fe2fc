"""Tensors: values as JSON writes them, as the tensor that a model declares."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LONGEST_QUOTE = 80
_NUMPY = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64"}


class Unfit(Exception):
    """A value that is no tensor of the kind asked for; the text goes on after "it cannot be"."""


@dataclass(frozen=True)
class Tensor:
    """Elements in row-major order and their shape, both without the batch; text elements may be bytes."""

    shape: tuple[int, ...]
    values: list[Any]


def tensor(datatype: str, dims: Sequence[int], value: Any) -> Tensor:
    """Return a value, a flat list of them or lists nested as the dims are, as a tensor.

    `dims` are the declared ones, -1 for any size. Bytes are {"base64": "..."}. Raises Unfit.
    """
    array = np.array(_decoded(value), dtype=object)
    values = array.ravel().tolist()
    if not all(fits(datatype, one) for one in values):
        raise Unfit(f"{quoted(value)}: its dtype is {datatype}")
    # a flat list is taken for whatever shape its elements fill
    shape = array.shape if array.ndim > 1 else _filled(dims, len(values))
    if len(shape) != len(dims) or any(
        wanted not in (-1, size) for size, wanted in zip(shape, dims, strict=True)
    ):
        raise Unfit(f"{quoted(value)}: its shape is {list(dims)}")
    return Tensor(shape, values)


def _filled(dims: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the dims with the one that is open worked out; () when so many elements do not fill them."""
    known = math.prod(size for size in dims if size != -1)
    shape = tuple(count // known if size == -1 else size for size in dims)
    return shape if list(dims).count(-1) <= 1 and math.prod(shape) == count else ()


def fits(datatype: str, value: Any) -> bool:
    """Return whether one element can be sent as that dtype."""
    if datatype == "BYTES":
        return isinstance(value, str | bytes | int | float)
    if datatype == "BOOL":
        return isinstance(value, bool) or value in (0, 1)
    if isinstance(value, bool):
        return False
    if datatype.startswith(("FP", "BF")):
        return isinstance(value, int | float)
    bits = int(datatype.lstrip("UINT"))
    least = 0 if datatype.startswith("U") else -(2 ** (bits - 1))
    return isinstance(value, int) and least <= value < least + 2**bits


def raw(datatype: str, values: Sequence[Any]) -> bytes:
    """Return elements as Triton's raw contents: little-endian, each text after its length in 4 bytes."""
    if datatype == "BYTES":
        texts = [value if isinstance(value, bytes) else str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "BF16":  # the upper half of a float32
        halves = np.array(values, dtype="<f4").view("<u4") >> 16
        return halves.astype("<u2").tobytes()
    return np.array(values, dtype=_NUMPY.get(datatype, datatype.lower())).tobytes()


def quoted(value: Any) -> str:
    """Return a value as JSON, the beginning of a long one."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    if list(value) != ["base64"] or not isinstance(value["base64"], str):
        raise Unfit(f'{quoted(value)}: bytes are {{"base64": "..."}}')
    try:
        return base64.b64decode(value["base64"], validate=True)
    except binascii.Error:
        raise Unfit(f"{quoted(value)}: that is no base64") from None
