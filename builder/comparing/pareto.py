"""Which of several choices are worth a look: those that no other is better than in everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether one is nowhere larger than the other, and smaller somewhere: less is better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Mapping[Name, Sequence[float]]) -> list[Name]:
    """Return the names of the Pareto front, in their order: the points that no other dominates.

    Less is better in every coordinate. Of points that are equal all are on it; one with a coordinate that is
    infinite or no number never is.
    """
    known = {name: point for name, point in points.items() if all(math.isfinite(value) for value in point)}
    return [
        name for name, point in known.items() if not any(dominates(other, point) for other in known.values())
    ]
