"""The tournament: find every row's best settings, then let all rows run in turn, again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from workbench.contenders import Contender, Sample, Work

WorkOf = Callable[[int], Work]
"""The work at a concurrency."""

SELDOM = 3
"""How often a row plays whose place nobody doubts."""

_HOPELESS = 0.5
"""The share of the fastest try below which a setting is not tried again."""


@dataclass
class Row:
    """One line of the table: a contender at each of its settings, and what its best gave.

    `samples` are kept by concurrency and repeat: those of two rows in the same repeat stood side by side.
    """

    name: str
    kind: str
    candidates: Sequence[Contender]
    same_artifact: bool
    seldom: bool = False
    best: dict[int, Contender] = field(default_factory=dict)
    samples: dict[int, dict[int, Sample]] = field(default_factory=dict)

    def rates(self, level: int) -> dict[int, float]:
        return {repeat: sample.tokens_per_second for repeat, sample in self.samples[level].items()}

    def delays(self, level: int) -> dict[int, float]:
        return {repeat: sample.ttft_ms for repeat, sample in self.samples[level].items()}

    def rate(self, level: int) -> float:
        return median(self.rates(level).values())

    def delay(self, level: int) -> float:
        return median(self.delays(level).values())

    def to_json(self, level: int) -> dict[str, Any]:
        return {
            "row": self.name,
            "kind": self.kind,
            "same_artifact": self.same_artifact,
            "concurrency": level,
            "settings": self.best[level].settings,
            "tokens_per_second": round(self.rate(level), 2),
            "ttft_ms": round(self.delay(level), 2),
            "samples": [
                {
                    "repeat": repeat,
                    "tokens_per_second": round(one.tokens_per_second, 2),
                    "ttft_ms": round(one.ttft_ms, 2),
                }
                for repeat, one in self.samples[level].items()
            ],
        }


def sweep(rows: Sequence[Row], levels: Sequence[int], work: WorkOf, tries: int) -> None:
    """Set every row's best candidate at every level; whoever has no choice only warms up."""
    for row in rows:
        for level in levels:
            candidates = [one for one in row.candidates if not _wasted(one, level)]
            row.best[level] = fastest(candidates, work(level), tries)
            if len(candidates) > 1:
                _say(f"{row.name} ({row.kind}), {level} at once: best with {row.best[level].settings}")


def fastest(candidates: Sequence[Contender], work: Work, tries: int) -> Contender:
    """Return the candidate with the fastest of all tries, as noise only slows; the slow get one try only."""
    rates = [candidate.sample(work).tokens_per_second for candidate in candidates]
    for _ in range(1, tries if len(candidates) > 1 else 1):
        hopeless = _HOPELESS * max(rates)
        for place, candidate in enumerate(candidates):
            if rates[place] >= hopeless:
                rates[place] = max(rates[place], candidate.sample(work).tokens_per_second)
    return candidates[rates.index(max(rates))]


def _wasted(candidate: Contender, level: int) -> bool:
    """Say whether a batch cannot be divided at this level."""
    return getattr(candidate, "share", 1) > 1 and level < 8


def play(rows: Sequence[Row], repeats: Mapping[int, int], work: WorkOf) -> None:
    """Sample every row so often at every level, the rows in turn, so that noise hits all alike."""
    for row in rows:
        row.samples = {level: {} for level in repeats}
    for repeat in range(max(repeats.values())):
        for level, times in repeats.items():
            players = [row for row in rows if repeat in _turns(row, times)]
            # every other time the other way round: whoever runs after whom must not matter
            for row in players if repeat % 2 == 0 else players[::-1]:
                sample = row.best[level].sample(work(level))
                row.samples[level][repeat] = sample
                _say(
                    f"repeat {repeat + 1} of {times}, {level} at once, {row.name} ({row.kind}): "
                    f"{sample.tokens_per_second:.1f} tokens/s, first token {sample.ttft_ms:.1f} ms"
                )


def _turns(row: Row, times: int) -> range:
    """Return the repeats at which a row plays, spread over all."""
    return range(0, times, max(1, times // SELDOM))[:SELDOM] if row.seldom else range(times)


def top(rows: Sequence[Row], level: int) -> Row:
    """Return the row with the highest median rate at a level."""
    return max(rows, key=lambda row: row.rate(level))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
