"""Triton's data types: enum DataType of model_config.proto, by number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 2, 8: 4, 9: 8, 10: 2, 11: 4, 12: 8, 14: 2}
"""Bytes of one element; TYPE_STRING (13), whose elements have lengths of their own, is not among them."""

USUAL_NAMES = {
    "BYTES": "STRING",
    "STR": "STRING",
    "BOOLEAN": "BOOL",
    "HALF": "FP16",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "FLOAT": "FP32",
    "FLOAT32": "FP32",
    "DOUBLE": "FP64",
    "FLOAT64": "FP64",
    "INT": "INT32",
    "LONG": "INT64",
}
"""What other formats, and Triton's own clients, call a data type, by Triton's name in config.pbtxt."""


_LARGEST = 2**64


def elements(dims: Iterable[int]) -> int:
    """Return how many elements a shape has; what 64 bits cannot count is 2**64."""
    found = 1
    for size in dims:
        found = max(-_LARGEST, min(found * size, _LARGEST))
    return found


def spelled(data_type: int) -> str:
    """Return a data type as config.pbtxt spells it, such as TYPE_FP32; a number that is none as it is."""
    from tritonclient.grpc import model_config_pb2

    return _name(model_config_pb2.DataType.DESCRIPTOR, data_type)


def enum_name(message: Any, field: str) -> str:
    """Return the value of a field of a protobuf enum by its name in the schema."""
    return _name(message.DESCRIPTOR.fields_by_name[field].enum_type, getattr(message, field))


def _name(kind: Any, number: int) -> str:
    # protobuf's text format takes any number, and so does Triton
    known = kind.values_by_number.get(number)
    return str(number) if known is None else str(known.name)
