"""The contest: every row's best settings are found, then all rows run in turn, again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Protocol

from encoder.load import Run

Settings = dict[str, Any]

WARM_UP = 16
"""Texts before every sample that do not count: whoever stood still while others ran begins slowly."""


@dataclass(frozen=True)
class Sample:
    """What one run gave; a library that takes all texts at once has latencies only at 1 at once."""

    texts_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    mean_batch: float | None = None


class Entrant(Protocol):
    """A library or a server that runs, with one of its settings."""

    def sample(self, texts: Sequence[str], concurrency: int) -> Sample: ...

    def peak_mb(self) -> float:
        """Return the peak resident memory of all its processes."""
        ...


Start = Callable[[Settings], AbstractContextManager[Entrant]]
"""What starts an entrant with settings; it raises PeerFailed when that cannot be had."""


@dataclass
class Row:
    """One line of the table; `samples` are kept by concurrency and repeat.

    Samples of two rows in the same repeat stood side by side. A `seldom` row, whose place nobody doubts,
    plays SELDOM times. `best` holds the settings of each concurrency, `entrants` what runs with them.
    """

    name: str
    kind: str
    candidates: Sequence[Settings]
    start: Start
    seldom: bool = False
    tried: list[dict[str, Any]] = field(default_factory=list)
    best: dict[int, Settings] = field(default_factory=dict)
    entrants: dict[int, Entrant] = field(default_factory=dict)
    samples: dict[int, dict[int, Sample]] = field(default_factory=dict)

    def rates(self, level: int) -> dict[int, float]:
        return {repeat: one.texts_per_second for repeat, one in self.samples.get(level, {}).items()}

    def delays(self, level: int) -> dict[int, float]:
        found = self.samples.get(level, {}).items()
        return {repeat: one.p50_ms for repeat, one in found if one.p50_ms is not None}

    def middle(self, level: int, what: str) -> float | None:
        """Return the median of one field of its samples, None where it has none."""
        values = [getattr(one, what) for one in self.samples.get(level, {}).values()]
        told = [value for value in values if value is not None]
        return median(told) if told else None

    def to_json(self, level: int) -> dict[str, Any]:
        what = ("texts_per_second", "p50_ms", "p99_ms", "mean_batch")
        return {
            "row": self.name,
            "kind": self.kind,
            "concurrency": level,
            "settings": self.best[level],
            **{name: _rounded(self.middle(level, name)) for name in what},
            "peak_mb": round(self.entrants[level].peak_mb(), 1),
            "samples": [
                {"repeat": repeat, **{name: _rounded(getattr(one, name)) for name in what}}
                for repeat, one in self.samples[level].items()
            ],
        }


SELDOM = 3


def sample_of(run: Run, mean_batch: float | None = None) -> Sample:
    """Return the Sample of a closed loop's run."""
    p99 = quantiles(run.latencies_ms, n=100)[98]
    return Sample(run.rate, median(run.latencies_ms), p99, mean_batch)


def sweep(row: Row, texts: Mapping[int, Sequence[str]]) -> None:
    """Set a row's best settings at every concurrency; a row that has no choice is not tried."""
    if len(row.candidates) > 1:
        for settings in row.candidates:
            with row.start(settings) as entrant:
                for level, some in texts.items():
                    rate = entrant.sample(some, level).texts_per_second
                    tried = {"concurrency": level, "texts_per_second": round(rate, 2)}
                    row.tried.append(tried | {"settings": settings})
    for level in texts:
        at_level = [one for one in row.tried if one["concurrency"] == level]
        fastest = max(at_level, key=lambda one: float(one["texts_per_second"]), default=None)
        row.best[level] = row.candidates[-1] if fastest is None else fastest["settings"]
        _say(f"{row.name}, {level} at once: {row.best[level]}")


def play(rows: Sequence[Row], repeats: Mapping[int, int], texts: Mapping[int, Sequence[str]]) -> None:
    """Sample every row so often at every concurrency, the rows in turn, so that noise hits all alike."""
    for repeat in range(max(repeats.values())):
        for level, times in repeats.items():
            players = [row for row in rows if repeat in turns(row, times)]
            # every other time the other way round: whoever runs after whom must not matter
            for row in players if repeat % 2 == 0 else players[::-1]:
                sample = row.entrants[level].sample(texts[level], level)
                row.samples.setdefault(level, {})[repeat] = sample
                _say(f"repeat {repeat + 1} of {times}, {level} at once, {row.name}: {_shown(sample)}")


def turns(row: Row, times: int) -> range:
    """Return the repeats at which a row plays, spread over all, and over both orders of the rows."""
    if not row.seldom:
        return range(times)
    step = max(1, (times - 1) // (SELDOM - 1))
    # every other repeat runs the other way round, so an even step would never see it
    return range(0, times, step - 1 + step % 2)[:SELDOM]


def top(rows: Sequence[Row], level: int) -> Row:
    """Return the row with the highest median rate at a concurrency."""
    return max(rows, key=lambda row: row.middle(level, "texts_per_second") or 0.0)


def _shown(sample: Sample) -> str:
    delay = "" if sample.p50_ms is None else f", p50 {sample.p50_ms:.1f} ms"
    return f"{sample.texts_per_second:.1f} texts/s{delay}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
