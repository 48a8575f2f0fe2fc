"""Universal Binary JSON, as XGBoost saves its models (https://ubjson.org, draft 12)."""

from __future__ import annotations

import array
import struct
import sys
from typing import Any

_CONSTANTS = {b"Z": None, b"T": True, b"F": False}
_NUMBERS = {b"i": "b", b"U": "B", b"I": "h", b"l": "i", b"L": "q", b"d": "f", b"D": "d"}
"""Marker -> the type code of `struct` and `array`; all numbers lie big end first."""


class Broken(ValueError):
    """The bytes break off, or are no UBJSON."""


def loads(data: bytes) -> Any:
    """Return the value that the bytes hold; arrays of one type of number come as `array`.

    Raises:
        Broken: with the place of the mistake.
    """
    reader = _Reader(data)
    try:
        return reader.value(reader.marker())
    except RecursionError:
        raise Broken("it is nested too deep") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def value(self, marker: bytes) -> Any:
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in _NUMBERS:
            return self.number(marker)
        if marker in (b"S", b"H"):
            return self.text()
        if marker == b"C":
            return self.take(1).decode("latin-1")
        if marker == b"[":
            return self.elements()
        if marker == b"{":
            return self.entries()
        raise Broken(f"byte {self.position - 1:,} begins no value")

    def elements(self) -> Any:
        kind, count = self.head()
        if kind in _NUMBERS and count is not None:
            return self.numbers(kind, count)
        found: list[Any] = []
        while True:
            marker = self.element(kind, count, len(found), b"]")
            if marker is None:
                return found
            found.append(self.value(marker))

    def entries(self) -> dict[str, Any]:
        kind, count = self.head()
        found: dict[str, Any] = {}
        read = 0
        while count is None or read < count:
            if count is None and self.next_is(b"}"):
                break
            name = self.text()
            found[name] = self.value(kind or self.marker())
            read += 1
        return found

    def head(self) -> tuple[bytes, int | None]:
        """Return the type that all elements share, or nothing, and their number where it is told."""
        kind = b""
        if self.next_is(b"$"):
            kind = self.take(1)
            if kind not in _NUMBERS and kind not in (b"S", b"C", b"[", b"{"):
                # elements of no bytes: a few bytes would have us make millions of them
                raise Broken(f"byte {self.position - 1:,} begins an array of {kind!r}")
        count = self.integer() if self.next_is(b"#") else None
        if kind and count is None:
            raise Broken(f"byte {self.position:,} says a type without a number of elements")
        return kind, count

    def element(self, kind: bytes, count: int | None, done: int, end: bytes) -> bytes | None:
        """Return the marker of the next element, None behind the last one."""
        if count is not None:
            return None if done >= count else (kind or self.marker())
        return None if self.next_is(end) else self.marker()

    def numbers(self, kind: bytes, count: int) -> array.array[Any]:
        found: array.array[Any] = array.array(_NUMBERS[kind])
        found.frombytes(self.take(count * struct.calcsize(">" + _NUMBERS[kind])))
        if sys.byteorder == "little":
            found.byteswap()
        return found

    def number(self, marker: bytes) -> Any:
        code = ">" + _NUMBERS[marker]
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def integer(self) -> int:
        marker = self.marker()
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            raise Broken(f"byte {self.position - 1:,} begins no length")
        length = int(self.number(marker))
        if length < 0:
            raise Broken(f"byte {self.position - 1:,} ends a length of {length}")
        return length

    def text(self) -> str:
        try:
            return self.take(self.integer()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Broken(f"the text before byte {self.position:,} is no UTF-8: {error.reason}") from error

    def marker(self) -> bytes:
        marker = self.take(1)
        while marker == b"N":
            marker = self.take(1)
        return marker

    def next_is(self, wanted: bytes) -> bool:
        if self.data[self.position : self.position + 1] != wanted:
            return False
        self.position += 1
        return True

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise Broken(f"it breaks off at byte {len(self.data):,}, {end:,} are needed")
        found = self.data[self.position : end]
        self.position = end
        return found
