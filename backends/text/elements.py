"""The elements of STRING tensors: read them, and name one in an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt


def read_texts(name: str, row: str, array: npt.NDArray[Any], lower_case: bool = False) -> list[str]:
    """Return a STRING tensor's elements; `row` is what an element is called.

    Raises:
        ValueError: one is not UTF-8; names the element and the byte.
    """
    values = array.reshape(-1).tolist()
    try:
        found = [value.decode() for value in values]
    except UnicodeDecodeError:
        raise _not_text(name, row, values) from None
    return [text.lower() for text in found] if lower_case else found


def place(name: str, row: str, index: int, count: int) -> str:
    """Return what an error calls element `index` of the `count` elements of a tensor."""
    return name if count == 1 else f"{name}, {row} {index + 1} of {count}"


def _not_text(name: str, row: str, values: Sequence[bytes]) -> ValueError:
    for index, value in enumerate(values):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            where = place(name, row, index, len(values))
            return ValueError(
                f"{where} is not valid UTF-8: byte {error.start} is 0x{value[error.start]:02x}, "
                f"{error.reason}; send text encoded as UTF-8"
            )
    raise AssertionError("all are valid")
