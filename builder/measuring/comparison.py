"""Comparison: two measurements, run by run: the ratio of each figure, and how far its repeats spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from builder.measure import Measurement
from builder.measuring import kinds
from builder.measuring.errors import MeasureError
from builder.measuring.requirements import figure
from builder.measuring.task import Load

FEWEST_PAIRS = 3
# settings that are meant to differ, or are named by other means
_UNCOMPARED = {"salt", "repeats", "model", "fields"}


@dataclass(frozen=True)
class Row:
    """One figure under one load: both medians, and the second over the first of runs paired by repeat.

    `ratio` is the median of the pairs, `lowest` and `highest` are the ends of their spread. `verdict`
    is better or worse only when every pair agrees and the medians lie further apart than the repeats
    of either side, else "within noise". Fewer than FEWEST_PAIRS say nothing about chance.
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
    single = kinds.SINGLE_PASS in map(kinds.of, (first[0], second[0]))
    kind = kinds.kind(streams=not single)
    rows = (
        _row(key, name, more_is_better, ours[key], theirs[key])
        for key in shared
        for name, more_is_better in kind.compared.items()
    )
    return [row for row in rows if row is not None]


def _row(
    key: str,
    name: str,
    more_is_better: bool,
    ours: Mapping[int, Mapping[str, Any]],
    theirs: Mapping[int, Mapping[str, Any]],
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
        verdict=_verdict(pairs, ratios, more_is_better),
    )


def _verdict(pairs: list[tuple[float, float]], ratios: list[float], more_is_better: bool) -> str:
    if len(pairs) < FEWEST_PAIRS:
        return "too few repeats"
    before, after = zip(*pairs, strict=True)
    noise = max(max(side) - min(side) for side in (before, after))
    agree = min(ratios) > 1 or max(ratios) < 1
    if not agree or abs(median(after) - median(before)) <= noise:
        return "within noise"
    return "better" if (median(after) > median(before)) is more_is_better else "worse"


def differences(first: Measurement, second: Measurement) -> list[str]:
    """Return the settings under which the two were not measured alike, each with both values."""
    ours, theirs = _settings(first), _settings(second)
    if first.door == second.door:  # each has fields of its own for the same request
        ours, theirs = ours | _fields(first), theirs | _fields(second)
    if not (ours["seconds"] or theirs["seconds"]):  # else their number is a result
        counts, others = _requests(first), _requests(second)
        ours |= {name: counts[name] for name in counts if name in others}
        theirs |= {name: others[name] for name in others if name in counts}
    return [
        f"{name}: {_shown(ours.get(name))} and {_shown(theirs.get(name))}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]


def _settings(measured: Measurement) -> dict[str, Any]:
    found = {name: value for name, value in measured.settings.items() if name not in _UNCOMPARED}
    found["seconds"] = found.get("seconds") or None
    found["marks"] = bool(measured.settings.get("salt"))
    return found


def _fields(measured: Measurement) -> dict[str, Any]:
    """Return what every request carried, without the output tokens, which are a setting already."""
    tokens = measured.settings.get("output_tokens")
    return {name: value for name, value in measured.settings.get("fields", {}).items() if value != tokens}


def _requests(measured: Measurement) -> dict[str, Any]:
    return {f"requests at {Load(**run['load']).title()}": run["requests"] for run in measured.runs}


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _by_load(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(json.dumps(run["load"], sort_keys=True), {})[run["repeat"]] = run
    return found


def _title(key: str) -> str:
    return Load(**json.loads(key)).title()
