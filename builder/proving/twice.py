"""Perplexity in two ways, over the same texts: as the engine reads them, and as transformers does.

The second has the numbers that the artifact's weights stand for, in float32. Where the two lie apart, one of
them reads other weights than the other.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import files, house, modules
from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Plan
from builder.proving import asking, child

Progress = Callable[[str, float], None]

SAMPLE = 16
"""Texts that are read, some 5,000 tokens. Of fewer the two may lie apart by chance: engines that round inputs
to 8 bits make a token likelier or less. SmolLM2 as q4_k_m: 2.8 % over 384 tokens, 0.1 % over 3,991."""

APART = 0.01
"""How far the second may lie from the first, as a share of it."""


@dataclass(frozen=True)
class Twice:
    """Perplexity over `tokens` of the first held-out texts, by the `engine` and by `transformers`."""

    tokens: int
    engine: float
    transformers: float

    @property
    def apart(self) -> float:
        """How far the second lies from the first, as a share of it."""
        return self.transformers / self.engine - 1

    @property
    def agree(self) -> bool:
        """Whether they are the same weights; what is no number agrees with nothing."""
        return abs(self.apart) <= APART


def read(plan: Plan, artifact: Artifact, progress: Progress) -> Twice:
    """Read the texts, or find what was read before.

    Raises ProofError where the weights cannot be told in numbers, or the reading fails.
    """
    rows = asking.texts_read(plan, artifact, progress)[:SAMPLE]
    done = artifact.model.parent / f"dequantised-{_identity(plan, rows)[:16]}.json"
    if not done.is_file():
        with files.translated(ProofError, "writing the proof"), files.scratch(done) as stage:
            asked = {
                **asking.reading(plan, artifact),
                "source": str(artifact.source),
                # of the very tokens that the engine read
                "lengths": [row["tokens"] + 1 for row in rows],
                "out": str(stage / done.name),
            }
            _run(asked, stage / "request.json", artifact, progress)
            (stage / done.name).rename(done)
    return compared(rows, asking.rows(done))


def compared(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> Twice:
    """Return both perplexities, e to the mean loss in nats; raise ProofError where the texts differ.

    Args:
        first: rows of `held_out`.
        second: rows of `dequantised`.
    """
    lengths = [[row["tokens"] for row in rows] for rows in (first, second)]
    if lengths[0] != lengths[1]:
        raise ProofError(
            f"the engine read texts of {lengths[0]} tokens, transformers of {lengths[1]}",
            expected="the same texts",
            remedy="build again",
        )
    tokens = sum(lengths[0])
    either = [math.exp(math.fsum(row["loss"] for row in rows) / max(1, tokens)) for rows in (first, second)]
    return Twice(tokens, round(either[0], 6), round(either[1], 6))


def _identity(plan: Plan, rows: Sequence[dict[str, Any]]) -> str:
    """Return what says which texts were read and by which of our own files."""
    home = Path(__file__).parents[1]
    tools = modules.reached(
        home, [home / "proving" / "dequantised.py", *(home / "artifact_formats").glob("*.py")], "builder"
    )
    told = [f"{row['text']} {row['tokens']} {row['opening']}" for row in rows]
    content = [*(one.encode() for one in (plan.name, *told)), *(file.read_bytes() for file in tools)]
    return hashlib.sha256(b"\0".join(content)).hexdigest()


def _run(asked: dict[str, Any], request: Path, artifact: Artifact, progress: Progress) -> None:
    doing = "reading held-out texts by transformers"

    def tell(text: str) -> None:
        steps = re.findall(r"read (\d+)/(\d+)", text)
        progress(doing, int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0)

    log = house.cache_folder() / "logs" / f"dequantised-{artifact.key[:16]}.log"
    child.run("dequantised", asked, request, log, tell)
    progress(doing, 1.0)
