"""What the rows of a run say: its figures, the bars on them, a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from workbench import numbers
from workbench.bars import Bar

Rows = Sequence[dict[str, Any]]

BARS = (
    Bar("ttft_added_ms_s1", "<=", 5),
    Bar("tokens_per_core_over_relay_s64", ">=", 2),
    Bar("errors_s64", "==", 0),
    Bar("errors_s512", "==", 0),
    Bar("errors_soak", "==", 0),
    # over the second half; allocators move by as much
    Bar("memory_growth_mb_soak", "<=", 4),
)


def figures(rows: Rows) -> dict[str, float]:
    """Return the figures; those of doors that did not run are not there."""
    peers = [name for name in ("relay", "litellm") if _of(rows, "alone", name, "first_ms")]
    found = {}
    for name in ("gateway", *peers):
        ending = "" if name == "gateway" else f"_{name}"
        for figure, value in (("ttft", "first_ms"), ("itl", "between_ms")):
            told, direct = _of(rows, "alone", name, value), _of(rows, "alone", "triton", value)
            found[f"{figure}_added_ms_s1{ending}"] = numbers.paired_difference(told, direct)
    for streams in (64, 512):
        part = f"{streams} streams"
        ours = _of(rows, part, "gateway", "tokens_per_core_second")
        found[f"tokens_per_core_s{streams}"] = median(ours.values())
        for name in peers:
            theirs = _of(rows, part, name, "tokens_per_core_second")
            found[f"tokens_per_core_over_{name}_s{streams}"] = numbers.paired_ratio(ours, theirs)
        found[f"errors_s{streams}"] = sum(
            sum(row["errors"].values()) for row in rows if (row["part"], row["door"]) == (part, "gateway")
        )
    soak = next(row for row in rows if row["part"] == "soak")
    return found | {"errors_soak": soak["errors"], "memory_growth_mb_soak": soak["growth_mb"]}


def show(rows: Rows) -> None:
    """Print a table of all parts but the soak, medians of their runs."""
    table = Table(title="medians of all runs")
    heads = ("first word, ms", "p99", "between words, ms", "p99", "tokens/s", "tokens/s of a core", "errors")
    for place, column in enumerate(("streams", "door", *heads)):
        table.add_column(column, justify="left" if place < 2 else "right")
    values = ("first_ms", "first_ms_p99", "between_ms", "between_ms_p99")
    rates = ("tokens_per_second", "tokens_per_core_second")
    for part, door in dict.fromkeys((row["part"], row["door"]) for row in rows if row["part"] != "soak"):
        times = [_cell(_of(rows, part, door, value), ".2f") for value in values]
        carried = [_cell(_of(rows, part, door, value), ",.0f") for value in rates]
        errors = sum(
            sum(row.get("errors", {}).values()) for row in rows if (row["part"], row["door"]) == (part, door)
        )
        table.add_row("1" if part == "alone" else part.split()[0], door, *times, *carried, str(errors))
    Console(width=120).print(table)


def _cell(found: dict[int, float], form: str) -> str:
    return format(median(found.values()), form) if found else ""


def _of(rows: Rows, part: str, door: str, value: str) -> dict[int, float]:
    return {
        row["repeat"]: row[value]
        for row in rows
        if row["part"] == part and row["door"] == door and row.get(value)
    }
