"""One file of the safetensors format: 8 bytes of length, a header in JSON, and tensors without gaps.

https://github.com/huggingface/safetensors#format; the header is read here because the library's reader
imports numpy or torch, which takes longer than all of `plan`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import SourceError
from builder.source import TensorInfo

MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a file holds: tensors by name, `places` their first bytes in the file, `raw` the JSON."""

    tensors: dict[str, TensorInfo]
    places: dict[str, int]
    raw: bytes

    @property
    def head(self) -> bytes:
        """Return all that comes before the data."""
        return struct.pack("<Q", len(self.raw)) + self.raw


def read_header(path: Path) -> Header:
    """Read the header of a file; raise SourceError for one that is damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _truncated(str(path), size, 8)
        length = struct.unpack("<Q", start)[0]
        if length > MOST_HEADER_BYTES:
            raise _damaged(str(path), f"it announces a header of {length} bytes")
        if 8 + length > size:
            raise _truncated(str(path), size, 8 + length)
        return parse_header(file.read(length), size, str(path))


def parse_header(raw: bytes, size: int, name: str) -> Header:
    """Return what the JSON header of a file of `size` bytes describes.

    Raises:
        SourceError: not JSON, not a header, or more or fewer data than the header announces.
    """
    try:
        entries = json.loads(raw)
        entries.pop("__metadata__", None)
        tensors, begins, spans = {}, {}, []
        for tensor, entry in entries.items():
            shape, dtype = tuple(entry["shape"]), str(entry["dtype"])
            begin, end = entry["data_offsets"]
            tensors[tensor] = TensorInfo(tensor, shape, dtype, end - begin)
            begins[tensor] = 8 + len(raw) + begin
            spans.append((begin, end))
            if end - begin != nbytes(shape, dtype):
                raise _damaged(name, f"{tensor} is {dtype} of shape {shape} in {end - begin} bytes")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(name, f"its header is not a description of tensors ({error})") from error
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _damaged(name, f"its tensors leave a gap or overlap at byte {position} of the data")
        position = end
    if position != size - 8 - len(raw):
        raise _truncated(name, size, 8 + len(raw) + position)
    return Header(tensors, begins, raw)


def described(tensors: Iterable[TensorInfo]) -> Header:
    """Return the header of a file that holds these tensors one after the other."""
    entries, begins, position = {}, {}, 0
    tensors = tuple(tensors)
    for one in tensors:
        end = position + one.nbytes
        entries[one.name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": [position, end]}
        begins[one.name] = position
        position = end
    raw = json.dumps(entries, separators=(",", ":")).encode()
    # readers map the data: they want it aligned to the largest element
    raw += b" " * (-len(raw) % 8)
    places = {name: 8 + len(raw) + begin for name, begin in begins.items()}
    return Header({one.name: one for one in tensors}, places, raw)


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes of a tensor; raise KeyError or ValueError for what is no type or no shape."""
    bits = BITS[dtype]
    for extent in shape:
        if type(extent) is not int or extent < 0:
            raise ValueError(f"{extent!r} in a shape")
        bits *= extent
    return bits // 8


def _truncated(name: str, size: int, needed: int) -> SourceError:
    verb = "is truncated" if size < needed else "has bytes that nothing describes"
    return SourceError(
        f"{name} {verb}: it has {size} bytes",
        expected=f"{needed} bytes, by its own header",
        remedy="fetch the file again",
    )


def _damaged(name: str, what: str) -> SourceError:
    return SourceError(
        f"{name} is damaged: {what}", expected="a safetensors file", remedy="fetch the file again"
    )
