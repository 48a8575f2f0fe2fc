"""A measurement as one HTML file that stands alone: no script, no network, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from builder.measure import Measurement
from builder.measuring import kinds
from builder.measuring.requirements import figure
from builder.measuring.task import Load
from builder.printing import measurements, pages, plots

AXES = {"closed": ("concurrency", "requests at once"), "open": ("rate", "arrivals per second")}
RATES = {"tokens_per_second": "tokens/s", "requests_per_second": "requests/s"}
TIMES = {"ttft": "Time to first token", "itl": "Time between tokens", "latency": "Latency"}


def page(measured: Measurement) -> str:
    """Return the whole document."""
    text = pages.text
    early = (
        f"<p><strong>Ended early:</strong> {text(measured.ended_early.found)}</p>"
        if measured.ended_early
        else ""
    )
    return pages.document(
        f"{measured.name} over {measured.door}",
        [
            f"<p>{text(measured.url)}, {text(measured.date)}</p>{early}",
            f"<p><code>{text(measured.command)}</code></p>",
            f"<h2>Runs</h2><p>Times are {measurements.shares(measured)}.</p>",
            pages.table(measurements.columns(measured), measurements.rows(measured)),
            *(f"<p>{text(line)}</p>" for line in measurements.remarks(measured)),
            '<h2>Plots</h2><div class="plots">',
            *_plots(measured.runs),
            "</div><h2>How it was measured</h2>",
            pages.table(
                ("setting", "value"), [(key, str(value)) for key, value in measured.settings.items()]
            ),
            pages.table(("machine", ""), [(key, str(value)) for key, value in measured.machine.items()]),
        ],
    )


def _plots(runs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    told = kinds.of(runs[0])
    for kind, (field, label) in AXES.items():
        chosen = [run for run in runs if run["load"]["kind"] == kind]
        if not chosen:
            continue
        rate = RATES[told.rate]
        yield from _drawn("Throughput", label, rate, {rate: _points(chosen, field, told.rate)})
        for time in told.times:
            series = {share: _points(chosen, field, f"{time}_{share}") for share in told.shares}
            yield from _drawn(TIMES[time], label, "ms", series)
    waited = f"{TIMES[told.curve]}: how many waited at most"
    yield from _drawn(waited, "ms", "% of requests", _curves(runs, f"{told.curve}_ms"))


def _drawn(title: str, x_label: str, y_label: str, series: Mapping[str, plots.Points]) -> Iterable[str]:
    known = {name: points for name, points in series.items() if points}
    if known:
        yield plots.lines(title, x_label, y_label, known)


def _points(runs: Sequence[Mapping[str, Any]], field: str, name: str) -> plots.Points:
    """Return the median over the repeats of each load."""
    values: dict[float, list[float]] = {}
    for run in runs:
        value = figure(run, name)
        if value is not None:
            values.setdefault(float(run["load"][field]), []).append(value)
    return [(load, median(found)) for load, found in values.items()]


def _curves(runs: Sequence[Mapping[str, Any]], time: str) -> dict[str, plots.Points]:
    found: dict[str, plots.Points] = {}
    for run in runs:
        title = Load(**run["load"]).title()
        values = run["distribution"][time]
        if title not in found and values:  # the first repeat stands for all
            found[title] = [(value, 100 * place / len(values)) for place, value in enumerate(values, 1)]
    return found
