"""An engine in its version folder: what stands beside it, and what its first bytes say.

They are read as trtexec's --getPlanVersionOnly does (NVIDIA/TensorRT 10.x, samples/common/sampleEngines.cpp,
printPlanVersion): a tag of four bytes, the version of the format, and for its version 0 that of TensorRT in
bytes 24 to 27.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from builder import contract, reading
from builder.planning.placement import MOST_GPUS

SCRIPT, RECORD = "build-engine.sh", "engine.json"
"""What `builder build` writes beside the engine's source: the command, and what it was decided by."""

LAUNCH = "launch.sh"
"""Beside an engine over several hosts: what starts their servers."""

RANK = "rank{}.engine"
"""The parts of an engine that is a folder, as `trtllm-build` writes them."""

FIRST = RANK.format(0)

TAGS = (b"ftrt", b"ptrt")
"""Plans of TensorRT 10 and of older ones."""

_HEADER, _VERSION = 28, 24


def launched(path: Path) -> str:
    """Return where LAUNCH of a version folder lies inside the image, which is where it runs."""
    return str(Path(contract.MODELS, *path.parts[-3:]))


def start(path: Path) -> bytes:
    """Return the first four bytes of a file."""
    with reading.opened(path) as stream:
        return stream.read(4)


def begins(path: Path) -> bool:
    """Say whether a file begins as an engine does."""
    return start(path) in TAGS


def version(path: Path) -> str:
    """Return the version of TensorRT that built an engine, such as "10.13.3.9", "" where none can be told."""
    with reading.opened(path) as stream:
        header = stream.read(_HEADER)
    if len(header) < _HEADER or header[:4] != TAGS[0] or header[4:8] != bytes(4):
        return ""
    return ".".join(map(str, header[_VERSION:]))


def of(path: Path) -> str:
    """Return the same of an engine that may be a folder of several parts."""
    return version(path / FIRST if path.is_dir() else path)


def hosts(mapping: Mapping[str, Any]) -> int:
    """Return how many hosts an engine is for, by the `mapping` of its config.

    A rank takes the GPU of its number modulo `gpus_per_node`, 8 where it is not told (gptJsonConfig.cpp).
    """
    ranks, each = mapping.get("world_size", 1), mapping.get("gpus_per_node", MOST_GPUS)
    known = all(type(count) is int and count > 0 for count in (ranks, each))
    return ceil(ranks / each) if known else 1


def record(folder: Path) -> dict[str, Any]:
    """Return what RECORD in an engine's version folder says, {} where there is none that can be read."""
    path = folder / RECORD
    told = reading.json_of(path)[0] if path.is_file() else None
    return told if isinstance(told, dict) else {}


def nearest(folder: Path) -> dict[str, Any]:
    """Return the record of an engine that is a folder: in it, or in the version folder around it."""
    return record(folder) or record(folder.parent)
