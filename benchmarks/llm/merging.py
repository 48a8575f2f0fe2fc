"""One record of all parts: rows with their medians, what the checks found, figures, and which bars hold."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from workbench import bars, environment, record
from workbench.children import BENCHMARKS

from llm import figures
from llm.figures import BARS, Record, middle

_TOLD = (
    ("tokens_per_second", ""),
    ("tokens_per_response", ""),
    ("responses_per_second", ""),
    ("generator_cpu_share", ""),
    ("prefix_hit_share", ""),
    ("input_tokens", ""),
    ("ttft_ms", "p50"),
    ("ttft_ms", "p99"),
    ("itl_ms", "p50"),
    ("itl_ms", "p95"),
    ("itl_ms", "p99"),
)
_OF_PARTS = ("part", "complete", "seconds", "date", "command", "engine_arguments")
_FOUND = ("ids", "scores", "verify", "habits", "errors")


def merge(parts: Sequence[Record], arguments: argparse.Namespace) -> int:
    """Write the record and its plots, print figures, bars and table; return the exit code."""
    told = figures.of(parts)
    rows = [{"part": part["part"], **merged(row)} for part in parts for row in part.get("rows", [])]
    ran = [
        {name: part[name] for name in (*_OF_PARTS, *_FOUND) if name in part}
        for part in sorted(parts, key=lambda part: str(part["date"]))
    ]
    verdicts = {"held": bars.held(BARS, told), "missed": bars.missed(BARS, told)}
    versions: dict[str, str] = {}
    for part in parts:
        versions |= part["versions"]
    machine = parts[-1]["machine"]
    record.write(
        "llm_gpu", told, rows, arguments, machine=machine, versions=versions, bars=verdicts, parts=ran
    )
    written = arguments.output or record.FOLDER / "llm_gpu.json"
    draw(written)
    record.print_figures(told)
    for row in rows:
        if row.get("failure"):
            print(f"FAILED {row['part']}, {row['row']}, {row['concurrency']} at once: {row['failure']}")
    for line in verdicts["held"]:
        print(f"HOLDS {line}")
    code = bars.tell(BARS, told)
    show(rows)
    return code


def merged(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the medians of its samples, and of each sample only its rate."""
    found = {name: value for name, value in row.items() if name != "samples" and value != ""}
    for what, statistic in _TOLD:
        value = middle(row, what, statistic)
        if value is not None:
            found["_".join(filter(None, (what.removesuffix("_ms"), statistic)))] = round(value, 4)
    found["cores"] = _cores(row["samples"])
    found["samples"] = [
        {"repeat": one["repeat"], "tokens_per_second": round(one["tokens_per_second"], 2)}
        for one in row["samples"]
    ]
    return found


def _cores(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    kinds = dict.fromkeys(kind for one in samples for kind in one.get("cores", {}))
    rows = {"samples": [{"repeat": one["repeat"], **one.get("cores", {})} for one in samples]}
    return {kind: round(middle(rows, kind) or 0.0, 3) for kind in kinds}


def draw(written: Path) -> None:
    """Draw the plots of a record beside it; where matplotlib cannot be had they are left out, aloud."""
    try:
        python = environment.ensure(BENCHMARKS / ".venv-plots", BENCHMARKS / "requirements-plots.txt")
        command = [str(python), "-m", "llm.plots", str(written.resolve())]
        subprocess.run(command, cwd=BENCHMARKS, check=True)
    except (subprocess.CalledProcessError, OSError) as failure:
        print(f"LEFT OUT the plots: {failure}; --merge draws them where PyPI is", file=sys.stderr)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of a record."""
    table = Table(title="medians; ms")
    for name in ("part", "row", "load"):
        table.add_column(name)
    columns = ("tokens_per_second", "ttft_p50", "ttft_p99", "itl_p50", "itl_p95", "itl_p99")
    for name in ("at once", *(column.replace("_per_second", "/s") for column in columns)):
        table.add_column(name.replace("_", " "), justify="right")
    for name in ("tokens a response", "GPU, GB"):
        table.add_column(name, justify="right")
    table.add_column("cores")
    for row in rows:
        kind = row["shape"] if row["prompts"] == "chats" else row["prompts"]
        cells = ["" if row.get(name) is None else f"{row[name]:.1f}" for name in columns]
        held = row.get("gpu_mb")
        size = row.get("tokens_per_response")
        more = ["" if size is None else f"{size:.1f}", "" if held is None else f"{held / 1000:.1f}"]
        cores = ", ".join(f"{kind} {share:.1f}" for kind, share in row["cores"].items() if share >= 0.1)
        table.add_row(row["part"], row["row"], kind, str(row["concurrency"]), *cells, *more, cores)
    Console(width=190).print(table)
