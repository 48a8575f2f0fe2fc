"""A rounded checkpoint as an ONNX graph.

onnxruntime-genai's model builder reads it as it reads anyone's, and keeps its numbers. The head, which no
text is asked about, it rounds to the nearest, with groups of the same size.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder import files
from builder.errors import ConversionError
from builder.ranks.quantization import RECORD
from builder.source import Checkpoint

INDEX = "model.safetensors.index.json"
WEIGHTS = (".safetensors", ".gguf", ".bin")
ROUNDED = "rounded"
"""The folder that is there for as long as the graph is built."""


def build(checkpoint: Checkpoint, room: Path, command: Sequence[str], out: Path) -> None:
    """Run the model builder, whose `--input` is put after its command; raise ConversionError if it fails.

    Args:
        checkpoint: the source.
        room: the rounded one, which gets what the builder reads beside weights.
        command: the builder's.
        out: what the command fills.
    """
    _describe(checkpoint, room)
    done = subprocess.run([*command, "--input", str(room)], stdin=subprocess.DEVNULL, check=False)
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
        described = file.is_file() and file.suffix not in WEIGHTS and file.name != INDEX
        if described and not (room / file.name).exists():
            files.place(file, room / file.name)
