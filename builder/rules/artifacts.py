"""Rules about the weights in a version folder: is the file whole?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.check import Finding
from builder.layout import Layout, Model


def onnx_truncated(model: Model, repository: Layout) -> Iterator[Finding]:
    """The fields of an ONNX file must end where the file ends."""
    for version in model.served:
        for path in sorted((model.path / str(version)).rglob("*.onnx")):
            if path.is_dir() or _is_whole(path):
                continue
            yield Finding(
                "onnx-truncated",
                "error",
                str(path.relative_to(repository.path)),
                f"{path.name} is no whole ONNX file: it breaks off inside a field "
                f"({path.stat().st_size:,} bytes are there)",
                "copy the file again, or build this version again with `builder build`",
            )


def _is_whole(path: Path) -> bool:
    """Walk the top-level protobuf fields, skipping their bytes: a few reads whatever the size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position, seen = 0, False
        while position < size:
            key = _varint(file.read(10))
            if key is None or not key[0] >> 3:
                return False
            position += key[1]
            length = _field_length(file, position, key[0] & 7)
            if length is None or position + length > size:
                return False
            position += length
            file.seek(position)
            seen = True
    return seen


def _field_length(file: BinaryIO, position: int, wire_type: int) -> int | None:
    file.seek(position)
    if wire_type in (1, 5):
        return 8 if wire_type == 1 else 4
    value = _varint(file.read(10))
    if value is None or wire_type not in (0, 2):
        return None
    return value[1] if wire_type == 0 else value[1] + value[0]


def _varint(data: bytes) -> tuple[int, int] | None:
    """Return (value, bytes used) of a base-128 varint, None when it does not end."""
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return None
