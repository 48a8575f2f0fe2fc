"""The figures of a row, each by a name: what is compared, and in which pairs one is given for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from builder.comparing import pareto
from builder.comparing.row import Row

MB = 1e6


@dataclass(frozen=True)
class Figure:
    """What is read of a row; None where that has none. `label` has its unit."""

    label: str
    of: Callable[[Row], float | None]
    more_is_better: bool = False


@dataclass(frozen=True)
class Pair:
    """Two figures of which one costs the other: `name` is what people call their Pareto front."""

    name: str
    title: str
    x: Figure
    y: Figure


def rate(row: Row, concurrency: int) -> float | None:
    """Return the tokens per second with so many requests at once, None where that was not measured."""
    run = row.at(concurrency)
    return None if run is None else float(run["tokens_per_second"])


def _rate(place: int) -> Callable[[Row], float | None]:
    return lambda row: float(row.runs[place]["tokens_per_second"]) if row.runs else None


def _first_token(row: Row) -> float | None:
    """Return ms at the median of the first load; None where nothing was answered."""
    times = row.runs[0]["ttft_ms"] if row.runs else None
    return float(times["p50"]) if times else None


SIZE = Figure("size of the weights, MB", lambda row: None if row.size is None else row.size / MB)
MEMORY = Figure("memory while serving, MB", lambda row: row.memory)
DIVERGENCE = Figure("mean KL divergence, nats", lambda row: row.divergence)
RATIO = Figure("perplexity, times the source's", lambda row: row.loss["ratio"] if row.loss else None)
ALONE = Figure("tokens/s, one request at once", _rate(0), more_is_better=True)
FIRST_TOKEN = Figure("time to first token, ms", _first_token)
TOGETHER = Figure("tokens/s, most requests at once", _rate(-1), more_is_better=True)

PAIRS = (
    Pair("size against loss", "Size against what was lost", SIZE, DIVERGENCE),
    Pair("memory against loss", "Memory against what was lost", MEMORY, DIVERGENCE),
    Pair("speed against loss", "Speed of one stream against what was lost", ALONE, DIVERGENCE),
    Pair("throughput against loss", "Throughput against what was lost", TOGETHER, DIVERGENCE),
    Pair("size against perplexity", "Size against perplexity", SIZE, RATIO),
)


def points(pair: Pair, rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Return variant -> both figures of a pair, of the rows that are served and have both."""
    found = {}
    for row in rows:
        x, y = pair.x.of(row), pair.y.of(row)
        if not row.failure and x is not None and y is not None:
            found[row.variant] = (float(x), float(y))
    return found


def front(pair: Pair, rows: Sequence[Row]) -> list[str]:
    """Return the variants that no other is better than in both figures."""
    signs = [-1.0 if figure.more_is_better else 1.0 for figure in (pair.x, pair.y)]
    return pareto.front({name: (signs[0] * x, signs[1] * y) for name, (x, y) in points(pair, rows).items()})
