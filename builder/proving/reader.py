"""Have the raw artifact read token ids, and hand its logits on; `python -m builder.proving.reader REQUEST`.

It writes to its standard output, for each sequence, two little-endian 32-bit numbers, tokens and vocabulary,
and so many float32. Whoever reads slowly is waited for: nothing is kept.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from builder import house

_SHAPE = struct.Struct("<II")
_STDOUT, _STDERR = 1, 2

Logits = npt.NDArray[np.float32]


@contextmanager
def reading(request: Path, asked: Mapping[str, Any]) -> Iterator[Iterator[Logits]]:
    """Give the logits [tokens - 1, vocabulary] of each sequence, in their order, by a process of its own.

    Args:
        request: a file to write what is asked to.
        asked: `model`, a folder; its `witness` with its `arguments`; `sequences`, token ids.

    Raises ValueError where the process ends before all are read.
    """
    request.write_text(json.dumps(asked), encoding="utf-8")
    command = [sys.executable, "-m", "builder.proving.reader", str(request)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield _received(process, process.stdout, asked["sequences"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        request.unlink()


def _received(
    process: subprocess.Popen[bytes], stream: IO[bytes], sequences: Sequence[Sequence[int]]
) -> Iterator[Logits]:
    for _ in sequences:
        head = stream.read(_SHAPE.size)
        if len(head) < _SHAPE.size:
            raise ValueError(f"the artifact could not be read with: code {process.wait()}")
        tokens, vocabulary = _SHAPE.unpack(head)
        logits = np.empty((tokens, vocabulary), dtype=np.float32)
        _fill(stream, logits.data.cast("B"))
        yield logits


def _fill(stream: IO[bytes], room: memoryview) -> None:
    place = 0
    while place < len(room):
        count = stream.readinto(room[place:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("the artifact ended in the middle of its logits")
        place += count


def main(request: Path) -> None:
    """Read {model, witness, arguments, sequences}; write the logits of each."""
    # libraries print, and nothing of that is a logit
    out = os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(_STDERR, _STDOUT)
    asked = json.loads(request.read_text(encoding="utf-8"))
    witness = house.plugin("proving", asked["witness"], option="witness")
    model = witness.load(Path(asked["model"]), asked["arguments"])
    for ids in asked["sequences"]:
        logits = np.ascontiguousarray(model.read(ids), dtype=np.float32)
        out.write(_SHAPE.pack(*logits.shape))
        out.write(logits.data.cast("B"))
        out.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
