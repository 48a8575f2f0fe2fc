"""trtexec's command line, as `trtexec --help` of TensorRT 10.5 tells it and 11.x takes it; no TensorRT in it.

Run as a program it checks its arguments, then writes an engine that has a header and nothing else.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

FLAGS = frozenset(("--stronglyTyped", "--noTF32", "--skipInference"))
"""Of those without a value what 11.x still takes: it has none for precisions."""
REMOVED = frozenset(("--fp16", "--bf16", "--int8", "--best", "--explicitBatch", "--workspace", "--buildOnly"))
POOLS = ("workspace", "dlaSRAM", "dlaLocalDRAM", "dlaGlobalDRAM", "tacticSharedMem")
FILES = ("--onnx", "--saveEngine", "--timingCacheFile")
BOUNDS = ("--minShapes", "--optShapes", "--maxShapes")

Shape = tuple[int, ...]


@dataclass
class Asked:
    """A command line that trtexec would take."""

    files: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, dict[str, Shape]] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    workspace: float | None = None
    """In MiB."""


def read(arguments: list[str]) -> Asked:
    """Return what is asked for; raise ValueError for what the grammar does not have."""
    asked = Asked()
    for argument in arguments:
        # what an option is ends at the first equals sign
        name, has_value, value = argument.partition("=")
        if name in REMOVED:
            raise ValueError(f"{name} was removed")
        if name in FLAGS and not has_value:
            asked.flags.add(name)
        elif name in FILES and value and name not in asked.files:
            asked.files[name] = value
        elif name in BOUNDS and value and name not in asked.shapes:
            asked.shapes[name] = dict(_shapes(value))
        elif name == "--memPoolSize" and asked.workspace is None:
            asked.workspace = _workspace(value)
        else:
            raise ValueError(f"unknown, empty or given twice: {argument}")
    if asked.shapes and set(asked.shapes) != set(BOUNDS):
        raise ValueError("all of --minShapes, --optShapes and --maxShapes, or --optShapes alone")
    return asked


def _shapes(text: str) -> list[tuple[str, Shape]]:
    found = []
    for pair in text.split(","):
        # the name ends at the last colon
        name, _, dims = pair.rpartition(":")
        if not name or set(name) & set("*'") or not re.fullmatch(r"\d+(x\d+)*", dims):
            raise ValueError(f"no shape: {pair}")
        found.append((name, tuple(map(int, dims.split("x")))))
    if len(dict(found)) != len(found):
        raise ValueError(f"an input is named twice: {text}")
    return found


def _workspace(text: str) -> float:
    pool, _, size = text.partition(":")
    read_size = re.fullmatch(r"(\d+(?:\.\d+)?)([BKMG]?)", size)
    if pool not in POOLS or read_size is None:
        raise ValueError(f"no pool and size: {text}")
    return float(read_size[1]) * {"B": 2**-20, "K": 2**-10, "M": 1, "G": 2**10, "": 1}[read_size[2]]


def engine(version: tuple[int, int, int, int] = (10, 14, 1, 48)) -> bytes:
    """Return the header of an engine, with which the file of a real one begins."""
    return b"ftrt" + bytes(20) + bytes(version)


def main() -> None:
    asked = read(sys.argv[1:])
    if not Path(asked.files["--onnx"]).is_file():
        raise SystemExit(f"Could not open file {asked.files['--onnx']}")
    Path(asked.files["--timingCacheFile"]).write_text("timings", encoding="utf-8")
    Path(asked.files["--saveEngine"]).write_bytes(engine())


if __name__ == "__main__":
    main()
