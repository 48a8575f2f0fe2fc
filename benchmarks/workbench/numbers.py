"""Statistics that noise does not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

_MOST_POINTS = 300


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Return the median of the ratios of runs that stood next to one another: those of the same key."""
    return median(ours[key] / theirs[key] for key in _shared(ours, theirs))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Return the median of the differences of runs that stood next to one another."""
    return median(ours[key] - theirs[key] for key in _shared(ours, theirs))


def _shared(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[int]:
    found = sorted(ours.keys() & theirs.keys())
    if not found:
        raise ValueError("no run of one stood next to a run of the other")
    return found


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the Theil-Sen slope, the median slope of all pairs: a third of the points may be wild."""
    stride = max(1, len(times) // _MOST_POINTS)
    points = list(zip(times, values, strict=True))[::stride]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] != a[0]]
    return median(slopes) if slopes else 0.0


def growth(times: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Return how much a quantity grew over the second half, by its slope and from its start to its end.

    The first half is warm-up: arenas, caches and pools find their size.
    """
    half = len(times) // 2
    later, held = list(times[half:]), list(values[half:])
    if len(later) < 2:
        return {"by_slope": 0.0, "start_to_end": 0.0}
    third = max(1, len(held) // 3)
    return {
        "by_slope": slope(later, held) * (later[-1] - later[0]),
        "start_to_end": median(held[-third:]) - median(held[:third]),
    }
