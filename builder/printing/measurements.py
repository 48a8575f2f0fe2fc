"""Measurements for people: tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from builder.measure import Measurement
from builder.measuring import kinds
from builder.measuring.comparison import Row
from builder.measuring.requirements import Miss
from builder.measuring.task import Load
from builder.printing import tables

TIMES = {"ttft": "TTFT ms", "itl": "ITL ms", "latency": "latency ms"}


def show(measured: Measurement) -> None:
    """Print one row per run, then errors, batch sizes and memory."""
    tokens = measured.settings.get("output_tokens")
    asked = f"{measured.name} over {measured.door}" + (f", {tokens} tokens an answer" if tokens else "")
    tables.show(f"{asked}; times are {shares(measured)}", columns(measured), rows(measured))
    for line in remarks(measured):
        click.echo(line)


def shares(measured: Measurement) -> str:
    """Return which statistics of a time its cell holds."""
    return " / ".join(_kind(measured).shares)


def columns(measured: Measurement) -> tuple[str, ...]:
    """Return the headings of the table, those of figures that its runs have."""
    kind = _kind(measured)
    tokens = ("tokens/s",) if "tokens_per_second" in kind.numbers else ()
    return "load", "requests", "errors", "requests/s", *tokens, *(TIMES[time] for time in kind.times)


def rows(measured: Measurement) -> list[tuple[str, ...]]:
    """Return the cells of every run beneath `columns`."""
    several = measured.settings["repeats"] > 1
    kind = _kind(measured)
    return [
        (
            Load(**run["load"]).title() + (f", {run['repeat'] + 1}" if several else ""),
            str(run["requests"]),
            str(run["errors"]),
            _rate(run["requests_per_second"]),
            *(f"{run[name]:.1f}" for name in kind.numbers if name == "tokens_per_second"),
            *(_times(run[f"{time}_ms"], kind.shares) for time in kind.times),
        )
        for run in measured.runs
    ]


def _kind(measured: Measurement) -> kinds.Kind:
    return kinds.of(measured.runs[0])


def _rate(rate: float) -> str:
    return f"{rate:.3g}" if rate < 999.5 else f"{rate:.0f}"


def _times(summary: Mapping[str, float] | None, names: Sequence[str]) -> str:
    if summary is None:
        return "-"
    return " / ".join(
        f"{summary[share]:.0f}" if summary[share] >= 100 else f"{summary[share]:.1f}" for share in names
    )


def remarks(measured: Measurement) -> list[str]:
    """Return what the table does not say, a line each: errors, batches, memory, a busy generator."""
    last = measured.runs[-1]
    found = [
        f"{count} x at {Load(**run['load']).title()}: {message}"
        for run in measured.runs
        for message, count in run["error_messages"].items()
    ]
    batches = ", ".join(f"{name} {size:g}" for name, size in last["mean_batch_size"].items())
    if batches:
        found.append(f"mean batch size of the last run: {batches}")
    memory = _memory(last["memory"])
    if memory:
        found.append(f"memory after the last run: {memory}")
    found += [
        f"at {Load(**run['load']).title()} the load generator itself was busy "
        f"({run['generator_cpu_share']:.0%} of a core): the server may be faster than this says"
        for run in measured.runs
        if run["generator_cpu_share"] > 0.8
    ]
    return found


def _memory(memory: Mapping[str, Mapping[str, float]]) -> str:
    cpu, gpu = memory["cpu_mb"], memory["gpu_mb"]
    parts = []
    if cpu:
        parts.append(
            f"{cpu['pss']:.0f} MB in {cpu['processes']:.0f} processes (at most {cpu['peak_rss']:.0f} MB), "
            f"{cpu['shared']:.1f} MB of it in /dev/shm"
        )
    parts += [f"{used:.0f} MB on {name}" for name, used in gpu.items()]
    return "; ".join(parts)


def show_comparison(compared: Sequence[Row], first: str, second: str) -> None:
    """Print the ratios of the second measurement to the first."""
    tables.show(
        f"{second} over {first}",
        ("load", "figure", "first", "second", "ratio", "spread", "pairs", "the second is"),
        [
            (
                row.load,
                row.figure,
                f"{row.first:.4g}",
                f"{row.second:.4g}",
                f"{row.ratio:.3f}",
                f"{row.lowest:.3f} .. {row.highest:.3f}",
                str(row.pairs),
                row.verdict,
            )
            for row in compared
        ],
    )


def show_differences(differences: Sequence[str], *, to_stderr: bool) -> None:
    """Warn that the two were measured under other settings: the ratios may be theirs."""
    if differences:
        click.echo(f"warning: measured with different settings: {'; '.join(differences)}", err=to_stderr)


def show_missed(missed: Sequence[Miss], *, to_stderr: bool) -> None:
    """Print every requirement that a run did not hold, beside data on stderr."""
    lines = [(miss.requirement.text, miss.load, str(miss.repeat + 1), miss.measured()) for miss in missed]
    if to_stderr:
        for line in lines:
            click.echo("required {}; at {}, run {}: {}".format(*line), err=True)
    else:
        tables.show("Required, but missed", ("required", "load", "run", "measured"), lines)
    sys.stdout.flush()
