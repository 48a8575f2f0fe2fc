"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from workbench.tournament import Row


def show(rows: Sequence[Row], levels: Sequence[int]) -> None:
    """Print tokens per second of every row at every level, and its first token's delay at the lowest."""
    table = Table(title="tokens/s, medians")
    table.add_column("row")
    table.add_column("kind")
    for level in levels:
        table.add_column(f"{level} at once", justify="right")
    table.add_column("first token, ms", justify="right")
    for row in rows:
        cells = [f"{row.rate(level):.1f}" for level in levels]
        table.add_row(row.name, row.kind, *cells, f"{row.delay(levels[0]):.1f}")
    Console(width=110).print(table)
