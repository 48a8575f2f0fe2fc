"""Comparisons for people: tables on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from builder.comparing import figures
from builder.comparing.row import Comparison, Row
from builder.errors import ComparisonError
from builder.printing import tables

NOTHING = "-"
FAILED = "failed"


def show(found: Comparison, home: Path) -> None:
    """Print the table, what the weights are kept in, what failed, and where all of it lies."""
    tables.show(title(found), columns(found), cells(found))
    tables.show("What the weights are kept in", KEPT, kept(found.rows))
    for line_ in remarks(found):
        click.echo(line_)
    served = [row for row in found.rows if not row.failure]
    click.echo(f"written: {home}/comparison.html and {home}/comparison.json")
    if served:
        click.echo(f"serve one: {shlex.join(['builder', 'serve', str(home / served[-1].repository)])}")


def title(found: Comparison) -> str:
    """Return what was compared, in a line."""
    count = len(found.rows)
    return f"{found.name}: {count} variant{'s' * (count != 1)} compared"


def columns(found: Comparison) -> tuple[str, ...]:
    """Return the headings of the table."""
    loads = found.settings["concurrency"]
    return (
        "variant",
        "MB",
        "RAM MB",
        *(f"tokens/s at {count}" for count in loads),
        "TTFT ms",
        "perplexity",
        "x source",
        "KL mean",
        "KL p99",
        "agreement",
        "twice",
        "checks",
    )


def cells(found: Comparison) -> list[tuple[str, ...]]:
    """Return the cells of every row beneath `columns`."""
    return [_cells(row, found.settings["concurrency"]) for row in found.rows]


def _cells(row: Row, loads: Sequence[int]) -> tuple[str, ...]:
    rates = [figures.rate(row, count) for count in loads]
    loss = row.loss
    lost = (
        f"{loss['perplexity']:.3f}",
        f"{loss['ratio']:.4f}",
        f"{loss['divergence']:.4f}",
        f"{loss['divergence_p99']:.3f}",
        f"{loss['agreement']:.1%}",
    ) if loss else (NOTHING,) * 5  # fmt: skip
    return (
        row.variant,
        _number(None if row.size is None else row.size / figures.MB, ".1f"),
        _number(row.memory, ".0f"),
        *(_number(rate, ".1f") for rate in rates),
        _number(figures.FIRST_TOKEN.of(row), ".0f"),
        *lost,
        _number(row.twice["apart"] if row.twice else None, "+.2%"),
        _checks(row),
    )


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _checks(row: Row) -> str:
    if row.failure:
        return FAILED
    return NOTHING if row.verified is None else f"{row.verified['passed']} passed"


KEPT = ("variant", "type", "tensors", "of them matrices", "MB", "in place of", "why")


def kept(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return a line for each type of each variant, and behind it what it stands in for."""
    found: list[tuple[str, ...]] = []
    for row in rows:
        for count in row.counts:
            stand_ins = [one for one in row.stand_ins if one.kind == count.kind]
            found.append(
                (
                    row.variant,
                    count.kind,
                    str(count.tensors),
                    str(count.matrices),
                    f"{count.size / figures.MB:.1f}",
                    ", ".join(f"{one.promised} ({one.matrices})" for one in stand_ins),
                    "; ".join(dict.fromkeys(one.why for one in stand_ins)),
                )
            )
    return found


def remarks(found: Comparison) -> list[str]:
    """Return what the tables do not say, a line each."""
    texts = next((row.loss for row in found.rows if row.loss), None)
    said = []
    if texts:
        said.append(
            f"lost on {texts['sequences']} texts ({texts['tokens']:,} tokens) against the source in float32, "
            f"perplexity {texts['source_perplexity']:.3f}"
        )
    best = {pair.name: figures.front(pair, found.rows) for pair in figures.PAIRS}
    said += [f"best in {name}: {', '.join(names)}" for name, names in best.items() if names]
    said += [
        f"{row.variant}: perplexity is {row.twice['transformers']:.3f} by transformers with the weights "
        f"dequantised, {row.twice['engine']:.3f} by the engine: they may not be the same weights"
        for row in found.rows
        if row.twice and not row.twice["agree"]
    ]
    said += [f"{row.variant}: not read twice: {row.twice_unknown}" for row in found.rows if row.twice_unknown]
    return said + [f"{row.variant} failed: {row.failure}" for row in found.failures]


def line(row: Row) -> str:
    """Return a row in one line, for whoever waits."""
    if row.failure:
        return f"{row.variant}: failed: {row.failure.splitlines()[0]}"
    size, rate = _number(figures.SIZE.of(row), ".1f"), _number(figures.ALONE.of(row), ".1f")
    return f"{row.variant}: {size} MB, {rate} tokens/s, {_number(row.divergence, '.4f')} nats"


def require_all(found: Sequence[Comparison]) -> None:
    """Raise ComparisonError that names every variant that is not served, or is not the weights it seems."""
    failed = [f"{one.name} as {row.variant}" for one in found for row in one.failures]
    apart = [
        f"{one.name} as {row.variant}"
        for one in found
        for row in one.rows
        if row.twice and not row.twice["agree"]
    ]
    said = [f"{len(failed)} not served: {', '.join(failed)}"] if failed else []
    said += [f"{len(apart)} with two perplexities: {', '.join(apart)}"] if apart else []
    if said:
        raise ComparisonError(
            "; ".join(said),
            expected="every variant built, proven, served and verified",
            remedy="read why above; mend it, widen its budget, or leave it out with --quantize",
        )
