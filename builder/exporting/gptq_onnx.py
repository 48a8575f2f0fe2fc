"""A checkpoint rounded by GPTQ as an ONNX graph: `python -m builder.exporting.gptq_onnx REQUEST.json`.

onnxruntime-genai's model builder reads the rounded checkpoint as it reads anyone's, and keeps its numbers.
The head, which no text is asked about, it rounds to the nearest, with groups of the same size.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from builder import complaint, files, source
from builder.errors import ConversionError
from builder.exporting import gptq
from builder.ranks.quantization import RECORD
from builder.source import Checkpoint

WEIGHTS = (".safetensors", ".gguf", ".bin")
ROUNDED = "rounded"


def main(request: Path) -> None:
    """Read {source, out, command, ...}, the rest as `gptq.round_as` wants it.

    `command` is the model builder's, whose `--input` is put before it.
    """
    asked = json.loads(request.read_text(encoding="utf-8"))
    out = Path(asked["out"])
    checkpoint = source.open_checkpoint(asked["source"])
    with files.scratch(out.parent / ROUNDED) as room:
        gptq.round_as(asked, room)
        _describe(checkpoint, room)
        done = subprocess.run(
            [*asked["command"], "--input", str(room)], stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise ConversionError(
                f"onnxruntime-genai's model builder ended with code {done.returncode}",
                expected="a graph of the rounded checkpoint",
                remedy="read what it printed above",
            )
        shutil.copyfile(room / RECORD, out / RECORD)


def _describe(checkpoint: Checkpoint, room: Path) -> None:
    """Put what the model builder reads beside weights there: tokenizer, template, how to generate."""
    for file in sorted(checkpoint.path.iterdir()):
        described = file.is_file() and file.suffix not in WEIGHTS and file.name != gptq.INDEX
        if described and not (room / file.name).exists():
            files.place(file, room / file.name)


if __name__ == "__main__":
    with complaint.printed(again="build again"):
        main(Path(sys.argv[1]))
