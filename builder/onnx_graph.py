"""What an .onnx file says of itself, without its weights and without the onnx package.

Fields by number as in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; wire format:
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from builder import reading

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# two numbers of at most 10 bytes
_LONGEST_HEAD = 20
# an export of the largest models has some 100,000 nodes, each one field here
_MOST_FIELDS = 500_000
_REMEMBERED = 4_096

TRITON_TYPES = {1: 11, 2: 2, 3: 6, 4: 3, 5: 7, 6: 8, 7: 9, 8: 13, 9: 1, 10: 10, 11: 12, 12: 4, 13: 5, 16: 14}
"""Triton's DataType by ONNX's TensorProto.DataType; what is not here Triton cannot carry."""


class Broken(Exception):
    """The file breaks off, or is no protobuf."""


@dataclass(frozen=True)
class Tensor:
    """An input or output: ONNX's element type, the dims with -1 for an open one, None when it says none."""

    name: str
    element_type: int
    dims: tuple[int, ...] | None


@dataclass(frozen=True)
class Graph:
    """The head of a model; `opset` is that of the standard domain, 0 for none.

    `defaults` are the inputs that have a value of their own and need none; `data` names the files, beside
    the model's, that hold weights.
    """

    ir_version: int
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    defaults: tuple[Tensor, ...] = ()
    data: tuple[str, ...] = ()


class _Field(NamedTuple):
    number: int
    value: int
    start: int
    end: int


@dataclass
class _Source:
    """A file with the number of fields that were read of it."""

    file: BufferedReader
    path: Path
    fields: int = 0

    def at(self, start: int, end: int) -> bytes:
        self.file.seek(start)
        return self.file.read(end - start)

    def head(self, start: int, end: int) -> bytes:
        """Return the bytes in which a field says its number and length."""
        self.fields += 1
        if self.fields > _MOST_FIELDS:
            raise reading.TooLarge(self.path, f"{_MOST_FIELDS:,} fields")
        return self.at(start, min(start + _LONGEST_HEAD, end))


def read(path: Path) -> Graph:
    """Read the head of a file of any size with a few reads; raise Broken when it is no whole model.

    A file is read once while it stays as it is: several rules ask for it.
    """
    status = path.stat()
    found = _outcome(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if isinstance(found, Exception):
        raise found.with_traceback(None)
    return found


@lru_cache(maxsize=_REMEMBERED)
def _outcome(path: Path, *_stamp: int) -> Graph | Broken | reading.TooLarge:
    """Return what a file says of itself, or what keeps it from being read."""
    with reading.opened(path) as file:
        try:
            return _graph(_Source(file, path), path.stat().st_size)
        except (Broken, reading.TooLarge) as problem:
            return problem


def _graph(file: _Source, size: int) -> Graph:
    ir_version = opset = 0
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    initializers: set[str] = set()
    data: set[str] = set()
    fields = list(_fields(file, 0, size))
    if not fields:
        raise Broken("it is empty")
    for field in fields:
        if field.number == 1:
            ir_version = field.value
        elif field.number == 8:
            opset = max(opset, _opset(file, field))
        elif field.number == 7:
            for part in _fields(file, field.start, field.end):
                if part.number == 11:
                    inputs.append(_tensor(file, part))
                elif part.number == 12:
                    outputs.append(_tensor(file, part))
                elif part.number == 5:
                    name, location = _initializer(file, part)
                    initializers.add(name)
                    data.add(location)
    return Graph(
        ir_version,
        opset,
        tuple(one for one in inputs if one.name not in initializers),
        tuple(outputs),
        tuple(one for one in inputs if one.name in initializers),
        tuple(sorted(data - {""})),
    )


def _initializer(file: _Source, field: _Field) -> tuple[str, str]:
    """Return (name, the file that holds the values, "" for this one)."""
    name = location = ""
    for part in _fields(file, field.start, field.end):
        if part.number == 8:
            name = _text(file, part)
        elif part.number == 13 and _text_in(file, part, 1) == "location":
            location = _text_in(file, part, 2)
    return name, location


def _opset(file: _Source, field: _Field) -> int:
    parts = list(_fields(file, field.start, field.end))
    domain = next((_text(file, part) for part in parts if part.number == 1), "")
    return next((part.value for part in parts if part.number == 2), 0) if domain in ("", "ai.onnx") else 0


def _tensor(file: _Source, field: _Field) -> Tensor:
    name, element_type, dims = "", 0, None
    for part in _fields(file, field.start, field.end):
        if part.number == 1:
            name = _text(file, part)
        elif part.number == 2:
            for kind in _fields(file, part.start, part.end):
                if kind.number == 1:
                    element_type, dims = _tensor_type(file, kind)
    return Tensor(name, element_type, dims)


def _tensor_type(file: _Source, field: _Field) -> tuple[int, tuple[int, ...] | None]:
    element_type, dims = 0, None
    for part in _fields(file, field.start, field.end):
        if part.number == 1:
            element_type = part.value
        elif part.number == 2:
            dims = tuple(_dim(file, dim) for dim in _fields(file, part.start, part.end) if dim.number == 1)
    return element_type, dims


def _dim(file: _Source, field: _Field) -> int:
    values = [part.value for part in _fields(file, field.start, field.end) if part.number == 1]
    # a negative int64 is a varint of ten bytes
    return values[-1] if values and 0 < values[-1] < 2**63 else -1


def _text_in(file: _Source, field: _Field, number: int) -> str:
    found = [_text(file, part) for part in _fields(file, field.start, field.end) if part.number == number]
    return found[-1] if found else ""


def _text(file: _Source, field: _Field) -> str:
    if field.end - field.start > reading.LARGEST:
        raise Broken(f"byte {field.start:,} begins a name of {field.end - field.start:,} bytes")
    return file.at(field.start, field.end).decode("utf-8", "replace")


def _fields(file: _Source, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of one message, skipping their bytes; raise Broken where one does not end."""
    position = start
    while position < end:
        head = file.head(position, end)
        key, used = _varint(head)
        kind, number = key & 7, key >> 3
        body = position + used
        value = 0
        if kind == _VARINT:
            value, more = _varint(head[used:])
            stop = body + more
        elif kind == _BYTES:
            length, more = _varint(head[used:])
            body += more
            stop = body + length
        elif kind in (_FIXED64, _FIXED32):
            stop = body + (8 if kind == _FIXED64 else 4)
        else:
            raise Broken(f"byte {position:,} begins no field")
        if stop > end or not number:
            raise Broken(f"it breaks off inside a field at byte {position:,} of {end:,}")
        yield _Field(number, value, body, stop)
        position = stop


def _varint(data: bytes) -> tuple[int, int]:
    """Return (value, bytes used) of a base-128 varint."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    raise Broken("it breaks off inside a number")
