"""One row of a comparison: what a variant is, what was proven of it, and how fast and large it is served."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.kept import Count, StandIn

SCHEMA = "builder.comparison/1"


@dataclass(frozen=True)
class Row:
    """A variant as it was tried; what was not reached is None or empty.

    `key` is the digest of all that it follows from; `failure` says why it is not served, "" where it is.
    `repository` is its folder. `size` counts bytes of the artifact's files, `counts` and `stand_ins` say what
    they are kept in. `loss` is what the gate read of held-out texts (`proving.loss.Loss`) beside `limits`,
    `twice` the perplexity in two ways (`proving.twice.Twice`), or why there is no second; `verified` counts
    checks by outcome, `runs` are those of a measurement, without distributions.
    """

    variant: str
    target: str
    quantize: str
    key: str
    repository: str = ""
    failure: str = ""
    size: int | None = None
    counts: tuple[Count, ...] = ()
    stand_ins: tuple[StandIn, ...] = ()
    loss: Mapping[str, Any] | None = None
    limits: Mapping[str, float] | None = None
    twice: Mapping[str, Any] | None = None
    twice_unknown: str = ""
    verified: Mapping[str, int] | None = None
    runs: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def divergence(self) -> float | None:
        """Mean KL divergence from the source on held-out texts, in nats."""
        return None if self.loss is None else float(self.loss["divergence"])

    @property
    def memory(self) -> float | None:
        """What the server took after the last run, in 10^6 bytes: of GPUs, where it has none of the host."""
        if not self.runs:
            return None
        taken = self.runs[-1]["memory"]
        found: float | None = sum(taken["gpu_mb"].values()) or taken["cpu_mb"].get("pss")
        return found

    def at(self, concurrency: int) -> Mapping[str, Any] | None:
        """Return the run with so many requests at once."""
        return next((run for run in self.runs if run["load"]["concurrency"] == concurrency), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """The rows of one model, in the order of its variants; `settings` are how they were measured."""

    name: str
    origin: str
    command: str
    date: str
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The variants that are not served."""
        return tuple(row for row in self.rows if row.failure)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; docs/compare.md says what every field means."""
        return {"schema": SCHEMA, **vars(self), "rows": [row.to_json() for row in self.rows]}


def read(path: Path) -> Row | None:
    """Return a row that was written before; None where there is none, or none that this version can show."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        row = Row(
            **{
                **told,
                "counts": tuple(Count(**one) for one in told["counts"]),
                "stand_ins": tuple(StandIn(**one) for one in told["stand_ins"]),
                "runs": tuple(told["runs"]),
            }
        )
        figures = [row.divergence, row.memory, *(run["tokens_per_second"] for run in row.runs)]
        return row if all(math.isfinite(value) for value in figures) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
