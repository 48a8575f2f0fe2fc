"""What the samples say: ratios of rows that stood side by side, the bars for them, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from workbench import numbers
from workbench.bars import Bar

from encoder.contest import Row, top

OURS, OVER_HTTP = "builder", "builder_http"
RAW, FASTAPI = "onnxruntime", "fastapi_torch"
BATCHED = 16
"""The concurrency at which batches of texts of one length are counted."""

BARS = (
    *(Bar(f"served_over_raw_c{level}", "<=", 1.03, "raw was not tuned") for level in (16, 64)),
    Bar("served_over_raw_c16", ">=", 0.80),
    Bar("served_over_raw_c64", ">=", 0.80),
    Bar("served_over_fastapi_torch_c16", ">=", 2.0),
    Bar("served_over_fastapi_torch_c64", ">=", 2.0),
    Bar("served_over_best_peer_c16", ">=", 1.0),
    Bar("served_over_best_peer_c64", ">=", 1.0),
    Bar("p50_added_ms_c1", "<=", 1.0),
    Bar(f"mean_batch_c{BATCHED}", ">=", BATCHED / 2),
)

_COLUMNS = ("texts_per_second", "p50_ms", "p99_ms", "mean_batch", "peak_mb")


def of(rows: Sequence[Row]) -> dict[str, float]:
    """Return our ratios to the raw library, to what people do today and to the best of all others."""
    by_name = {row.name: row for row in rows}
    mine = by_name[OURS]
    peers = [row for row in rows if row.name not in (OURS, OVER_HTTP, RAW)]
    found: dict[str, float] = {}

    def compare(name: str, other: Row, level: int) -> None:
        if other.rates(level) and mine.rates(level):
            ratio = numbers.paired_ratio(mine.rates(level), other.rates(level))
            found[f"served_over_{name}_c{level}"] = ratio

    for level in (16, 64):
        if RAW in by_name:
            compare("raw", by_name[RAW], level)
        if peers:
            compare("best_peer", top(peers, level), level)
        if FASTAPI in by_name:
            compare("fastapi_torch", by_name[FASTAPI], level)
    if RAW in by_name and mine.delays(1):
        found["p50_added_ms_c1"] = numbers.paired_difference(mine.delays(1), by_name[RAW].delays(1))
    return found


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of a record; a library has no latencies where it takes all texts at once."""
    table = Table(title="medians")
    table.add_column("row")
    table.add_column("kind")
    for name in ("at once", "texts/s", "p50, ms", "p99, ms", "mean batch", "peak MB"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: int(row["concurrency"])):
        cells = ["" if row[name] is None else f"{row[name]:.1f}" for name in _COLUMNS]
        table.add_row(row["row"], row["kind"], str(row["concurrency"]), *cells)
    Console(width=110).print(table)
