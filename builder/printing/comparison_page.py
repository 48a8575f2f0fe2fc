"""A comparison as one HTML file that stands alone: no script, no network, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable

from builder.comparing import figures
from builder.comparing.row import Comparison
from builder.printing import comparisons, pages, plots


def page(found: Comparison) -> str:
    """Return the whole document."""
    text = pages.text
    return pages.document(
        comparisons.title(found),
        [
            f"<p>{text(found.origin)}, {text(found.date)}</p>",
            f"<p><code>{text(found.command)}</code></p>",
            pages.table(comparisons.columns(found), comparisons.cells(found)),
            *(f"<p>{text(line)}</p>" for line in comparisons.remarks(found)),
            "<h2>What is worth a look</h2>",
            "<p>The line is the Pareto front: no other variant is better than these in both figures.</p>",
            '<div class="plots">',
            *_plots(found),
            "</div>",
            "<h2>What the weights are kept in</h2>",
            pages.table(comparisons.KEPT, comparisons.kept(found.rows)),
            "<h2>How it was measured</h2>",
            pages.table(("setting", "value"), [(key, str(value)) for key, value in found.settings.items()]),
            pages.table(("machine", ""), [(key, str(value)) for key, value in found.machine.items()]),
        ],
    )


def _plots(found: Comparison) -> Iterable[str]:
    for pair in figures.PAIRS:
        points = figures.points(pair, found.rows)
        if points:
            best = figures.front(pair, found.rows)
            yield plots.scatter(pair.title, pair.x.label, pair.y.label, points, best)
