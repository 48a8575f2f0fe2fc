"""The tournament: find every row's best settings, then let all rows run in turn, again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from workbench.contenders import Contender, Sample, Work

WorkOf = Callable[[int, int], Work]
"""The work at a concurrency, of so many requests for each of its workers."""


@dataclass
class Row:
    """One line of the table: a contender at each of its settings, and what its best gave, by concurrency."""

    name: str
    kind: str
    candidates: Sequence[Contender]
    same_artifact: bool
    waves: int = 2
    best: dict[int, Contender] = field(default_factory=dict)
    samples: dict[int, list[Sample]] = field(default_factory=dict)

    def rates(self, level: int) -> list[float]:
        return [sample.tokens_per_second for sample in self.samples[level]]

    def delays(self, level: int) -> list[float]:
        return [sample.ttft_ms for sample in self.samples[level]]

    def rate(self, level: int) -> float:
        return median(self.rates(level))

    def to_json(self, level: int) -> dict[str, Any]:
        return {
            "row": self.name,
            "kind": self.kind,
            "same_artifact": self.same_artifact,
            "concurrency": level,
            "settings": self.best[level].settings,
            "tokens_per_second": round(self.rate(level), 2),
            "ttft_ms": round(median(self.delays(level)), 2),
            "samples": [
                {"tokens_per_second": round(one.tokens_per_second, 2), "ttft_ms": round(one.ttft_ms, 2)}
                for one in self.samples[level]
            ],
        }


def fastest(tried: Sequence[tuple[Contender, Sequence[Sample]]]) -> Contender:
    """Return the candidate with the fastest of all samples: noise only slows."""
    return max(tried, key=lambda pair: max(sample.tokens_per_second for sample in pair[1]))[0]


def sweep(rows: Sequence[Row], levels: Sequence[int], work: WorkOf, tries: int) -> None:
    """Set every row's best candidate at every level; whoever has no choice only warms up."""
    for row in rows:
        for level in levels:
            tried = [(one, list[Sample]()) for one in row.candidates if not _wasted(one, level)]
            for _ in range(tries if len(tried) > 1 else 1):
                for candidate, samples in tried:
                    samples.append(candidate.sample(work(level, 1)))
            row.best[level] = fastest(tried)
            if len(tried) > 1:
                _say(f"{row.name} ({row.kind}), {level} at once: best with {row.best[level].settings}")


def _wasted(candidate: Contender, level: int) -> bool:
    """Say whether a batch cannot be divided at this level."""
    return getattr(candidate, "share", 1) > 1 and level < 8


def play(rows: Sequence[Row], levels: Sequence[int], work: WorkOf, repeats: int) -> None:
    """Sample every row at every level, the rows in turn, so that noise hits all alike."""
    for row in rows:
        row.samples = {level: [] for level in levels}
    for repeat in range(repeats):
        for level in levels:
            # every other time the other way round: whoever runs after whom must not matter
            for row in rows if repeat % 2 == 0 else rows[::-1]:
                sample = row.best[level].sample(work(level, row.waves))
                row.samples[level].append(sample)
                _say(
                    f"repeat {repeat + 1} of {repeats}, {level} at once, {row.name} ({row.kind}): "
                    f"{sample.tokens_per_second:.1f} tokens/s, first token {sample.ttft_ms:.1f} ms"
                )


def top(rows: Sequence[Row], level: int) -> Row:
    """Return the row with the highest median rate at a level."""
    return max(rows, key=lambda row: row.rate(level))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
