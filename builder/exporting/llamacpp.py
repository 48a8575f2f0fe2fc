"""A checkpoint as a GGUF of llama.cpp's types: `python -m builder.exporting.llamacpp REQUEST.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from builder import complaint
from builder.gguf import rounding, writing

MODEL = "model.gguf"
KEPT = "SOURCE"
"""The type that keeps the checkpoint's own numbers."""

TYPES = {
    "F32": 0,
    "F16": 1,
    "Q8_0": 7,
    "Q2_K": 10,
    "Q3_K_M": 12,
    "Q4_K_M": 15,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "BF16": 32,
}
"""Name -> llama_ftype (llama.cpp, include/llama.h)."""


def convert(source: Path, out: Path, kind: str, types: Mapping[str, str] | None = None) -> None:
    """Write `out`/model.gguf; raise ConversionError where the quantiser refuses it.

    Args:
        source: a Hugging Face folder.
        out: a folder.
        kind: one of TYPES, or KEPT.
        types: tensor -> type of every matrix, which is then what counts.
    """
    if kind == KEPT:
        writing.write(source, out / MODEL, lambda done, total: _tell("written", done, total))
        return
    plain = out / "plain.gguf"
    try:
        writing.write(source, plain, lambda done, total: _tell("written", done, total))
        if types:
            rounding.round_each(plain, types, out / MODEL, lambda done, total: _tell("rounded", done, total))
        else:
            rounding.quantise(plain, out / MODEL, TYPES[kind])
    finally:
        plain.unlink(missing_ok=True)


def _tell(doing: str, done: int, total: int) -> None:
    sys.stdout.write(f"{doing} {done}/{total}\n")
    sys.stdout.flush()


def main(request: Path) -> None:
    """Read {source, out, type, types}."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    convert(Path(asked["source"]), Path(asked["out"]), asked["type"], asked["types"])


if __name__ == "__main__":
    with complaint.printed(again="build again"):
        main(Path(sys.argv[1]))
