"""What all peers are given: the files of one model, and the vectors that theirs must be like."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from workbench.children import BENCHMARKS, PeerFailed

from encoder import ours, padded
from encoder.doors import Vector

ALIKE = 0.9999
"""The least cosine to sentence-transformers with which a row may take part."""

_CACHE = BENCHMARKS / ".encoder"


@dataclass(frozen=True)
class Stage:
    """`files` are settings that all peers get, `logs` takes theirs, `wanted` are vectors of `examples`."""

    files: dict[str, Any]
    logs: Path
    examples: Sequence[str]
    wanted: Sequence[Vector]

    def require_alike(self, name: str, found: Sequence[Vector]) -> None:
        """Raise PeerFailed unless every vector has a cosine of ALIKE or more to the wanted one."""
        # numpy's min, unlike Python's, lets no NaN hide
        least = np.min([cosine(a, b) for a, b in zip(found, self.wanted, strict=True)])
        if not least >= ALIKE:
            raise PeerFailed(
                f"{name} gives other vectors: cosine {least:.6f} to sentence-transformers, expected {ALIKE}"
            )


def files(repository: ours.Repository) -> dict[str, Any]:
    """Return the checkpoint, its tokenizer, the graph that we serve and the ordinary export, made once."""
    source = ours.source()
    return {
        "source": str(source),
        "tokenizer": str(repository.tokenizer),
        "packed": str(repository.graph),
        "padded": str(_export(source)),
    }


def cosine(a: Vector, b: Vector) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def _export(source: Path) -> Path:
    made_by = hashlib.sha256(Path(padded.__file__).read_bytes()).hexdigest()[:12]
    out = _CACHE / f"padded-{made_by}.onnx"
    if not out.is_file():
        _CACHE.mkdir(exist_ok=True)
        (_CACHE / ".gitignore").write_text("*\n")
        partial = out.with_suffix(".partial")
        command = [sys.executable, "-m", "encoder.padded", str(source), str(partial)]
        subprocess.run(command, cwd=BENCHMARKS, check=True, stdout=sys.stderr)
        partial.rename(out)
    return out
