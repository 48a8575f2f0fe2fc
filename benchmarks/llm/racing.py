"""Rounds: every trial by everyone who plays it, in turn, again and again while there is time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.children import PeerFailed

from builder.errors import BuilderError
from llm.asking import Failed
from llm.contenders import Contender
from llm.stage import Stage
from llm.trials import Trial
from llm.watching import Watch

MOST_ROUNDS = 9
SECONDS_TO_END = 30.0
"""What is kept for servers to end."""


@dataclass
class Row:
    """One line of a record: a contender and a trial, with a sample for each round."""

    contender: Contender
    trial: Trial
    samples: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    gpu_mb: float | None = None

    def to_json(self, model: str) -> dict[str, Any]:
        trial = self.trial
        return {
            "model": model,
            "row": self.contender.name,
            "shape": trial.shape,
            "concurrency": trial.level,
            "requests": trial.requests,
            "tokens": trial.tokens,
            "prompts": trial.prompts,
            "gpu_mb": self.gpu_mb,
            "failure": self.failure,
            "samples": self.samples,
        }


def race(
    stage: Stage,
    players: Sequence[tuple[Contender, Iterable[Trial]]],
    keep: Callable[[list[Row]], None],
    around: Callable[[Row], Callable[[], Mapping[str, Any]]] | None = None,
) -> list[Row]:
    """Run rounds until the time is up, at least one; `keep` is called after each with all rows.

    A row that fails plays no more, and keeps the samples it has; one that is interrupted likewise.
    `around` is called before each sample and gives what is asked after it for more of its figures.
    """
    rows = ordered(players)
    for repeat in range(1 if stage.rehearses else MOST_ROUNDS):
        began = time.monotonic()
        # every other time the other way round: whoever runs after whom must not matter
        try:
            for row in rows if repeat % 2 == 0 else rows[::-1]:
                _play(row, repeat, around)
        finally:
            keep(rows)
        took = time.monotonic() - began
        _say(f"round {repeat + 1} took {took:.0f} s, {stage.left():.0f} s are left")
        if not fits(took, stage.left()):
            break
    return rows


def _play(row: Row, repeat: int, around: Callable[[Row], Callable[[], Mapping[str, Any]]] | None) -> None:
    if row.failure:
        return
    try:
        row.samples.append({"repeat": repeat, **_sampled(row, repeat, around)})
    except (Failed, BuilderError, PeerFailed) as failure:
        row.failure = str(failure)
        _say(f"FAILED {row.contender.name}, {row.trial.name}: {failure}")


def fits(round_seconds: float, left: float) -> bool:
    """Return whether another round may begin: it may take a little longer than the last."""
    return left - SECONDS_TO_END > 1.15 * round_seconds


def ordered(players: Sequence[tuple[Contender, Iterable[Trial]]]) -> list[Row]:
    """Return rows so that those of one load stand beside one another."""
    rows = [Row(contender, trial) for contender, trials in players for trial in trials]
    return sorted(rows, key=lambda row: (row.trial.level, row.trial.prompts))


def _sampled(
    row: Row, repeat: int, around: Callable[[Row], Callable[[], Mapping[str, Any]]] | None
) -> dict[str, Any]:
    row.contender.warm(row.trial, repeat)
    after = around(row) if around else dict
    watch = Watch(row.contender.pid)
    found = row.contender.sample(row.trial, repeat)
    sample = {**found, "cores": watch.cores(), **after()}
    _say(f"{row.contender.name}, {row.trial.name}: {sample['tokens_per_second']:.1f} tokens/s")
    return sample


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
