"""A checkpoint as a GGUF of one of llama.cpp's types: `python -m builder.exporting.llamacpp REQUEST.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder import complaint
from builder.errors import ConversionError
from builder.gguf import writing

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


def convert(source: Path, out: Path, kind: str) -> None:
    """Write `out`/model.gguf; raise ConversionError where the quantiser refuses it."""

    def tell(done: int, total: int) -> None:
        sys.stdout.write(f"written {done}/{total}\n")
        sys.stdout.flush()

    if kind == KEPT:
        writing.write(source, out / MODEL, tell)
        return
    plain = out / "plain.gguf"
    try:
        writing.write(source, plain, tell)
        _round(plain, out / MODEL, kind)
    finally:
        plain.unlink(missing_ok=True)


def _round(plain: Path, out: Path, kind: str) -> None:
    from cyllama.llama import llama_cpp

    asked = llama_cpp.LlamaModelQuantizeParams()
    asked.ftype = TYPES[kind]
    try:
        llama_cpp.model_quantize(str(plain), str(out), asked)
    except RuntimeError as error:
        raise ConversionError(
            f"llama.cpp does not round these weights to {kind}: {error}",
            expected="numbers that are finite, in the shapes of the config",
            remedy="read the log above; pass a checkpoint that is not damaged",
        ) from error


def main(request: Path) -> None:
    """Read {source, out, type}."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    convert(Path(asked["source"]), Path(asked["out"]), asked["type"])


if __name__ == "__main__":
    with complaint.printed(again="build again"):
        main(Path(sys.argv[1]))
