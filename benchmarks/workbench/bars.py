"""What a figure must reach, as data."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_HOLDS = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


@dataclass(frozen=True)
class Bar:
    """One condition on one figure; `reason` is told when it is missed."""

    figure: str
    comparison: str
    bound: float
    reason: str = ""


def missed(bars: Sequence[Bar], figures: Mapping[str, float]) -> list[str]:
    """Return one line for each bar that is missed; a figure that was not measured misses its bar."""
    lines = []
    for bar in bars:
        wanted = f"{bar.figure} {bar.comparison} {bar.bound:g}"
        if bar.figure not in figures:
            lines.append(f"{wanted}: not measured")
        elif not _HOLDS[bar.comparison](figures[bar.figure], bar.bound):
            because = f" ({bar.reason})" if bar.reason else ""
            lines.append(f"{wanted}: it is {figures[bar.figure]:.4g}{because}")
    return lines


def held(bars: Sequence[Bar], figures: Mapping[str, float]) -> list[str]:
    """Return one line for each bar that holds."""
    return [
        f"{bar.figure} {bar.comparison} {bar.bound:g}: it is {figures[bar.figure]:.4g}"
        for bar in bars
        if not missed([bar], figures)
    ]


def tell(bars: Sequence[Bar], figures: Mapping[str, float]) -> int:
    """Print every missed bar and return the exit code."""
    lines = missed(bars, figures)
    for line in lines:
        print(f"MISSED {line}")
    return 1 if lines else 0
