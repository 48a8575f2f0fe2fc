"""Plots as SVG text: lines with axes, for pages that must stand alone."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 580, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 124, 34, 48
TICKS = 5
LINE, LABEL = 12, 90
"""How high and wide the name of a point is."""
# colour and dashes: told apart in print and by every eye
STYLES = (
    ("#0b6bcb", ""),
    ("#c2410c", "7 3"),
    ("#15803d", "2 3"),
    ("#7e22ce", "9 3 2 3"),
    ("#a16207", "4 4"),
    ("#be123c", "1 4"),
)


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Return an SVG of named lines through their points; both axes begin at 0."""
    every = [point for points in series.values() for point in points]
    frame = _Frame(_ticks(max(x for x, _ in every)), _ticks(max(y for _, y in every)))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text class="title" x="{LEFT}" y="18">{html.escape(title)}</text>',
        *frame.axes(x_label, y_label),
    ]
    for number, (name, points) in enumerate(series.items()):
        parts += frame.line(name, sorted(points), *STYLES[number % len(STYLES)])
    return "\n".join([*parts, *frame.legend(list(series)), "</svg>"])


def scatter(
    title: str, x_label: str, y_label: str, points: Mapping[str, tuple[float, float]], best: Collection[str]
) -> str:
    """Return an SVG of named points, a line through the `best` of them; both axes begin at 0."""
    frame = _Frame(_ticks(max(x for x, _ in points.values())), _ticks(max(y for _, y in points.values())))
    front = sorted(points[name] for name in best)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text class="title" x="{LEFT}" y="18">{html.escape(title)}</text>',
        *frame.axes(x_label, y_label),
        *frame.path(front, STYLES[0][0]),
        *frame.dots(points, best),
        "</svg>",
    ]
    return "\n".join(parts)


def _ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to at least the highest value."""
    rough = (highest or 1.0) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [step * number for number in range(math.ceil((highest or 1.0) / step - 1e-9) + 1)]


class _Frame:
    """Where values lie on the paper."""

    def __init__(self, x_ticks: list[float], y_ticks: list[float]) -> None:
        self._x_ticks, self._y_ticks = x_ticks, y_ticks

    def _x(self, value: float) -> float:
        return round(LEFT + value / self._x_ticks[-1] * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - value / self._y_ticks[-1] * (HEIGHT - TOP - BOTTOM), 1)

    def axes(self, x_label: str, y_label: str) -> list[str]:
        floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in self._y_ticks:
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
        for value in self._x_ticks:
            x = self._x(value)
            parts.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{floor}"/>')
            parts.append(f'<text class="tick" x="{x}" y="{floor + 16}" text-anchor="middle">{value:g}</text>')
        middle = (LEFT + right) / 2
        parts.append(
            f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x_label)}</text>'
        )
        turned = f'transform="rotate(-90 14 {HEIGHT / 2})"'
        parts.append(
            f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" {turned}>{html.escape(y_label)}</text>'
        )
        return parts

    def line(self, name: str, points: Points, colour: str, dashes: str) -> list[str]:
        placed = [(self._x(x), self._y(y)) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in placed)
        dots = [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}">'
            f"<title>{html.escape(name)}: {given:g}, {value:g}</title></circle>"
            for (x, y), (given, value) in zip(placed, points, strict=True)
        ]
        return [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/>',
            *dots,
        ]

    def path(self, points: Points, colour: str) -> list[str]:
        path = " ".join(f"{self._x(x)},{self._y(y)}" for x, y in points)
        return [f'<polyline class="front" points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']

    def dots(self, points: Mapping[str, tuple[float, float]], best: Collection[str]) -> list[str]:
        """Return the points with their names; a name that would lie on another goes above it."""
        parts: list[str] = []
        taken: list[tuple[float, float]] = []
        for name, (x, y) in sorted(points.items(), key=lambda item: (item[1], item[0])):
            left, above = self._x(x), self._y(y)
            fill = STYLES[0][0] if name in best else "none"
            told = html.escape(f"{name}: {x:g}, {y:g}")
            parts.append(
                f'<circle cx="{left}" cy="{above}" r="4" stroke="{STYLES[0][0]}" fill="{fill}">'
                f"<title>{told}</title></circle>"
            )
            line = above - 7
            while any(abs(line - other) < LINE and abs(left - place) < LABEL for place, other in taken):
                line -= LINE
            taken.append((left, line))
            parts.append(f'<text class="tick" x="{left + 5}" y="{round(line, 1)}">{html.escape(name)}</text>')
        return parts

    def legend(self, names: list[str]) -> list[str]:
        parts, x = [], WIDTH - RIGHT + 8
        for number, name in enumerate(names):
            colour, dashes = STYLES[number % len(STYLES)]
            y = TOP + 8 + 18 * number
            parts.append(
                f'<line x1="{x}" y1="{y}" x2="{x + 18}" y2="{y}" stroke="{colour}" stroke-width="2" '
                f'stroke-dasharray="{dashes}"/>'
            )
            parts.append(f'<text class="tick" x="{x + 22}" y="{y + 4}">{html.escape(name)}</text>')
        return parts
