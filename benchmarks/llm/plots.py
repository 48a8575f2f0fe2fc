"""Plots of a record: `python -m llm.plots RECORD`, run where matplotlib is; PNG files beside the record."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]

TITLES = {"smollm2": "SmolLM2-135M", "8b": "8B, random weights"}
COLOURS = {
    "raw": "#777777",
    "grpc": "#1f5fbf",
    "http": "#6fa8e8",
    "vllm_serve": "#c2571a",
    "vllm_serve_wide": "#e09a5a",
    "vllm_serve_rust": "#7a3b12",
}
LATENCIES = {"ttft_p50": "first token, p50, ms", "itl_p50": "between tokens, p50, ms", "itl_p95": "p95, ms"}


def series(rows: Rows, model: str, what: str) -> dict[str, list[tuple[int, float]]]:
    """Return (concurrency, value) of each contender, where a load went on; of several parts the first."""
    found: dict[str, dict[int, float]] = {name: {} for name in COLOURS}
    for row in rows:
        plain = row["shape"] == "closed" and row["prompts"] == "chats" and row["row"] in found
        if plain and row["model"] == model and row.get(what) is not None:
            found[row["row"]].setdefault(row["concurrency"], row[what])
    return {name: sorted(points.items()) for name, points in found.items() if points}


def main(written: Path) -> None:
    """Draw throughput and latencies of both models."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = json.loads(written.read_text(encoding="utf-8"))["rows"]
    models = [model for model in TITLES if series(rows, model, "tokens_per_second")]
    if not models:
        return
    for name, wanted in (("throughput", {"tokens_per_second": "tokens/s"}), ("latency", LATENCIES)):
        size = (5.2 * len(models), 3.6 * len(wanted))
        figure, axes = pyplot.subplots(len(wanted), len(models), squeeze=False, figsize=size)
        for line, (what, label) in zip(axes, wanted.items(), strict=True):
            for axis, model in zip(line, models, strict=True):
                _draw(axis, series(rows, model, what), f"{TITLES[model]}: {label}")
        figure.tight_layout()
        figure.savefig(written.with_name(f"{written.stem}_{name}.png"), dpi=110)


def _draw(axis: Any, lines: Mapping[str, Sequence[tuple[int, float]]], title: str) -> None:
    for name, points in lines.items():
        levels, values = zip(*points, strict=True)
        axis.plot(levels, values, marker="o", markersize=4, color=COLOURS[name], label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    ticks = sorted({level for points in lines.values() for level, _ in points})
    axis.set_xticks(ticks, [str(level) for level in ticks])
    axis.set_xlabel("requests at once")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
