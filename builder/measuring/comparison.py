"""Comparison: two measurements, run by run: the ratio of each figure, and how far its repeats spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from builder.measuring.errors import MeasureError
from builder.measuring.requirements import figure
from builder.measuring.task import Load

# figure -> whether more of it is better
FIGURES = {
    "requests_per_second": True,
    "tokens_per_second": True,
    "ttft_p50": False,
    "ttft_p95": False,
    "itl_p50": False,
    "itl_p95": False,
    "latency_p50": False,
    "latency_p95": False,
    "cpu_pss": False,
    "gpu_memory": False,
}


@dataclass(frozen=True)
class Row:
    """One figure under one load: both medians, and the second over the first of runs paired by repeat.

    `ratio` is the median of the pairs, `lowest` and `highest` are the ends of their spread. `verdict`
    is better or worse only when every pair agrees, else "unclear"; a single pair says nothing about
    chance, so its verdict is "one pair".
    """

    load: str
    figure: str
    first: float
    second: float
    ratio: float
    lowest: float
    highest: float
    pairs: int
    verdict: str


def compare(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row per load and figure that both have; raise MeasureError when they share no load."""
    ours, theirs = _by_load(first), _by_load(second)
    shared = [key for key in ours if key in theirs]
    if not shared:
        raise MeasureError(
            "the two measurements have no load in common",
            expected=f"the first's: {', '.join(_title(key) for key in ours)}",
            remedy="measure both with the same --concurrency or --rate",
        )
    rows = (_row(key, name, ours[key], theirs[key]) for key in shared for name in FIGURES)
    return [row for row in rows if row is not None]


def _row(
    key: str, name: str, ours: Mapping[int, Mapping[str, Any]], theirs: Mapping[int, Mapping[str, Any]]
) -> Row | None:
    pairs = [
        (before, after)
        for repeat in ours
        if repeat in theirs
        and (before := figure(ours[repeat], name))
        and (after := figure(theirs[repeat], name)) is not None
    ]
    if not pairs:
        return None
    ratios = [after / before for before, after in pairs]
    return Row(
        load=_title(key),
        figure=name,
        first=median(before for before, _ in pairs),
        second=median(after for _, after in pairs),
        ratio=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        pairs=len(pairs),
        verdict=_verdict(ratios, FIGURES[name]),
    )


def _verdict(ratios: list[float], more_is_better: bool) -> str:
    if len(ratios) == 1:
        return "one pair"
    if min(ratios) > 1:
        return "better" if more_is_better else "worse"
    if max(ratios) < 1:
        return "worse" if more_is_better else "better"
    return "unclear"


def _by_load(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(json.dumps(run["load"], sort_keys=True), {})[run["repeat"]] = run
    return found


def _title(key: str) -> str:
    return Load(**json.loads(key)).title()
