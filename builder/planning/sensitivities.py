"""What each part of a model loses in each type: as it was measured, or as is assumed before that."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.architecture import Dimensions
from builder.errors import UsageError
from builder.gguf import mixes
from builder.gguf.parts import parts_of

FORMAT = 1

OFTEN_SENSITIVE = {"embedding": 4.0, "head": 4.0, "down": 2.0}
"""Part -> how many times as much it is taken to lose as others of its size, before anything is measured."""

ENDS = 2.0
"""The same of the first and the last eighth of the layers, which llama.cpp's mixes keep higher too."""


@dataclass(frozen=True)
class Sensitivities:
    """Part -> type -> what the model loses by that part alone, in nats of mean KL divergence.

    `source` are the digests of the checkpoint's files and `texts` that of what was read, of which `tokens`
    were; both are empty where nothing was measured: then losses are to be compared, and mean nothing alone.
    """

    losses: Mapping[str, Mapping[str, float]]
    source: Mapping[str, str]
    texts: str = ""
    tokens: int = 0

    @property
    def measured(self) -> bool:
        """Say whether anything was measured."""
        return bool(self.source)


def assumed(sizes: Dimensions, kinds: Sequence[str]) -> Sensitivities:
    """Return what is taken before anything is measured.

    A matrix loses by its share of the weights, by what it is, and by 4 for each bit less: rounding with half
    the step is off by half as much, which counts squared.
    """
    shapes = dict(mixes.matrices(sizes))
    losses = {}
    for part, places in parts_of(sizes).items():
        layer, _, group = part.rpartition(".")
        often = OFTEN_SENSITIVE.get(group, 1.0) * (ENDS if layer and _at_an_end(int(layer), sizes) else 1.0)
        losses[part] = {
            kind: often
            * sum(
                math.prod(shapes[place]) / sizes.parameters * _error(mixes.fitting(kind, shapes[place][1]))
                for place in places
            )
            for kind in kinds
        }
    return Sensitivities(losses, {})


def _error(kind: str) -> float:
    elements, size = mixes.BLOCKS[kind]
    return 0.0 if kind == "F32" else 4.0 ** -(8 * size / elements)


def _at_an_end(layer: int, sizes: Dimensions) -> bool:
    eighth = max(1, sizes.layers // 8)
    return layer < eighth or layer >= sizes.layers - eighth


def read(path: Path, sizes: Dimensions, kinds: Sequence[str]) -> Sensitivities:
    """Read a profile; raise UsageError for a file that is none, or of a model with other parts or types."""
    try:
        found = _read(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as failure:
        raise UsageError(
            f"--sensitivities {path}: {_said(failure)}",
            expected="the file that `builder build --fit SIZE --sensitivities FILE` wrote",
            remedy="remove it: the next build with --fit measures again and writes it",
        ) from failure
    _require_same_parts(path, found.losses, sizes, kinds)
    return found


def _read(path: Path) -> Sensitivities:
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["format"] != FORMAT:
        raise ValueError(f"it is of format {told['format']}, not {FORMAT}")
    losses = {part: {kind: float(loss) for kind, loss in row.items()} for part, row in told["losses"].items()}
    if not all(math.isfinite(loss) and loss >= 0 for row in losses.values() for loss in row.values()):
        raise ValueError("a loss is negative, or no number")
    if not told["source"]:
        raise ValueError("it names no files of a checkpoint")
    texts = told["texts"]
    return Sensitivities(losses, dict(told["source"]), str(texts["sha256"]), int(texts["tokens"]))


def _said(failure: Exception) -> str:
    return f"it has no {failure}" if isinstance(failure, KeyError) else str(failure)


def _require_same_parts(
    path: Path, losses: Mapping[str, Mapping[str, float]], sizes: Dimensions, kinds: Sequence[str]
) -> None:
    expected = parts_of(sizes)
    differing = sorted(expected.keys() ^ losses.keys())
    lacking = sorted({kind for row in losses.values() for kind in set(kinds) - row.keys()})
    if differing or lacking:
        raise another(
            path,
            f"it has {len(losses)} parts, of {len(expected)} in this model; {', '.join(differing[:3])} differ"
            if differing
            else f"it says nothing of {', '.join(lacking)}",
        )


def another(path: Path, problem: str) -> UsageError:
    """Return the error for a profile of another model."""
    return UsageError(
        f"--sensitivities {path} is of another model: {problem}",
        expected="sensitivities that were measured with this very checkpoint",
        remedy="name another file: a build with --fit measures and writes it",
    )


def to_json(found: Sensitivities, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the profile as it is kept; `told` are further facts of the texts and of the tools."""
    losses = {part: {kind: _short(one) for kind, one in row.items()} for part, row in found.losses.items()}
    texts = {**told.get("texts", {}), "sha256": found.texts, "tokens": found.tokens}
    return {**told, "format": FORMAT, "source": dict(found.source), "texts": texts, "losses": losses}


def _short(loss: float) -> float:
    """Return six digits: more of them were not measured."""
    return float(f"{loss:.6g}")
