"""Read the header of a GGUF file: settings, arrays' places, tensors' places; no weight is touched.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import SourceError
from builder.source import TensorInfo

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MOST_DIMENSIONS = 4

STRING, ARRAY = 8, 9
SCALARS: Mapping[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
"""Value type -> how struct reads it."""

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""Tensor type -> name, elements per block, bytes per block."""


@dataclass(frozen=True)
class Array:
    """Where an array of settings lies: element type, count, first byte."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True)
class Place:
    """Where a weight lies: its type id and its first byte in the file."""

    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its weights begin.

    `settings` holds the scalars, `arrays` the places of the arrays (decoded by `array`); tensor shapes
    are in the order of Hugging Face, the slowest dimension first.
    """

    path: Path
    version: int
    settings: Mapping[str, Any]
    arrays: Mapping[str, Array]
    tensors: Mapping[str, TensorInfo]
    places: Mapping[str, Place]
    data_offset: int

    def array(self, key: str) -> list[Any]:
        """Decode an array; raise SourceError where the file has none of this name."""
        if key not in self.arrays:
            raise SourceError(
                f"{self.path}: the header has no array {key}",
                expected=f"{key}, which llama.cpp's converter writes",
                remedy="convert the model to GGUF again with a current llama.cpp",
            )
        array = self.arrays[key]
        with self.path.open("rb") as file, _mapped(file) as view:
            reader = _Reader(view, self.path, array.offset)
            if array.kind == STRING:
                return [reader.string() for _ in range(array.count)]
            return reader.many(SCALARS[array.kind], array.count)

    def bytes_of(self, offset: int, size: int) -> bytes:
        """Read `size` bytes of the file from `offset`."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def has_magic(path: Path) -> bool:
    """Say whether the file begins as a GGUF file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_header(path: Path) -> Header:
    """Read the header of a file.

    Raises:
        SourceError: no such file, another format or version, or the file ends before what it announces.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist", expected="a GGUF file", remedy="check the path")
    with path.open("rb") as file, _mapped(file) as view:
        reader = _Reader(view, path, 0)
        version, tensor_count, setting_count = _preamble(reader)
        settings, arrays = _settings(reader, setting_count)
        return _tensors(reader, tensor_count, version, settings, arrays)


def _mapped(file: Any) -> mmap.mmap:
    if not file.seek(0, 2):
        raise SourceError(f"{file.name} is empty", expected="a GGUF file", remedy="fetch it again")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Reader:
    """A place in the file that moves forward; whatever would leave the file is a SourceError."""

    def __init__(self, view: mmap.mmap, path: Path, offset: int) -> None:
        self.view = view
        self.path = path
        self.offset = offset
        self.size = len(view)

    def one(self, form: str) -> Any:
        return self.many(form, 1)[0]

    def many(self, form: str, count: int) -> list[Any]:
        size = struct.calcsize(form) * count
        self._need(size)
        values = struct.unpack_from(f"<{count}{form[1:]}", self.view, self.offset)
        self.offset += size
        return list(values)

    def string(self) -> str:
        size = self.one("<Q")
        self._need(size)
        raw = self.view[self.offset : self.offset + size]
        self.offset += size
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"the text at byte {self.offset - size} is not UTF-8") from error

    def skip_strings(self, count: int) -> None:
        # a vocabulary and its merges are 100,000 to 600,000 strings: the one loop that has to be lean
        unpack, view, offset, last = struct.Struct("<Q").unpack_from, self.view, self.offset, self.size - 8
        for _ in range(count):
            if offset > last:
                raise self.truncated(offset + 8)
            offset += 8 + unpack(view, offset)[0]
        self.offset = offset
        self._need(0)

    def skip(self, size: int) -> None:
        self._need(size)
        self.offset += size

    def _need(self, size: int) -> None:
        if self.offset + size > self.size:
            raise self.truncated(self.offset + size)

    def truncated(self, needed: int) -> SourceError:
        return SourceError(
            f"{self.path} is truncated: it has {self.size} bytes",
            expected=f"at least {needed} bytes, by its own header",
            remedy="fetch the file again",
        )

    def damaged(self, what: str) -> SourceError:
        return SourceError(
            f"{self.path} is damaged: {what}", expected="a GGUF header", remedy="fetch the file again"
        )


def _preamble(reader: _Reader) -> tuple[int, int, int]:
    magic = reader.view[:4]
    if magic != MAGIC[: len(magic)]:
        raise SourceError(
            f"{reader.path} begins with {magic!r}",
            expected=f"{MAGIC!r}, as every GGUF file does",
            remedy="pass a GGUF file, or a folder with config.json and model.safetensors",
        )
    reader.skip(4)
    version = reader.one("<I")
    if version not in VERSIONS:
        # a big-endian file shows its version in the wrong bytes
        shown = "big-endian" if version and not version & 0xFFFF else f"GGUF version {version}"
        raise SourceError(
            f"{reader.path} is {shown}",
            expected=f"little-endian, version {' or '.join(map(str, VERSIONS))}",
            remedy="convert the model to GGUF again with a current llama.cpp",
        )
    return version, reader.one("<Q"), reader.one("<Q")


def _settings(reader: _Reader, count: int) -> tuple[dict[str, Any], dict[str, Array]]:
    settings: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    for _ in range(count):
        key, kind = reader.string(), reader.one("<I")
        if kind == STRING:
            settings[key] = reader.string()
        elif kind in SCALARS:
            settings[key] = reader.one(SCALARS[kind])
        elif kind == ARRAY:
            arrays[key] = _array(reader, key)
        else:
            raise reader.damaged(f"{key} has value type {kind}")
    return settings, arrays


def _array(reader: _Reader, key: str) -> Array:
    kind, count = reader.one("<I"), reader.one("<Q")
    array = Array(kind, count, reader.offset)
    if kind == STRING:
        reader.skip_strings(count)
    elif kind in SCALARS:
        reader.skip(struct.calcsize(SCALARS[kind]) * count)
    else:
        raise reader.damaged(f"{key} is an array of value type {kind}")
    return array


def _tensors(
    reader: _Reader, count: int, version: int, settings: dict[str, Any], arrays: dict[str, Array]
) -> Header:
    tensors: dict[str, TensorInfo] = {}
    relative: dict[str, Place] = {}
    for _ in range(count):
        information, place = _tensor(reader)
        tensors[information.name] = information
        relative[information.name] = place
    alignment = settings.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise reader.damaged(f"general.alignment is {alignment!r}")
    start = -(-reader.offset // alignment) * alignment
    places = {name: Place(place.kind, start + place.offset) for name, place in relative.items()}
    end = max((places[name].offset + tensors[name].nbytes for name in places), default=reader.offset)
    if end > reader.size:
        raise reader.truncated(end)
    return Header(reader.path, version, settings, arrays, tensors, places, start)


def _tensor(reader: _Reader) -> tuple[TensorInfo, Place]:
    name, rank = reader.string(), reader.one("<I")
    if rank > MOST_DIMENSIONS:
        raise reader.damaged(f"{name} has {rank} dimensions")
    shape = tuple(reversed(reader.many("<Q", rank)))
    kind, offset = reader.one("<I"), reader.one("<Q")
    if kind not in TENSOR_TYPES:
        raise SourceError(
            f"{reader.path}: {name} has tensor type {kind}",
            expected=f"one of {', '.join(entry[0] for entry in TENSOR_TYPES.values())}",
            remedy="quantize the model to one of these with llama-quantize",
        )
    dtype, elements, size = TENSOR_TYPES[kind]
    if not shape or shape[-1] % elements:
        raise reader.damaged(f"{name} of shape {shape} cannot be {dtype}, which packs {elements} elements")
    total = 1
    for extent in shape:
        total *= extent
    return TensorInfo(name, shape, dtype, total // elements * size), Place(kind, offset)
