"""`builder compare` over variants of SmolLM2, and what its record says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import deployment

from builder.quantization import Limits

NAME = "smollm2"
SIZES = ("--max-context", "1024", "--concurrency", "4", "--load", "1,4")
FITS = ("410MB", "418MB")
MAY_FAIL = (0, 1)
"""Exit codes: a variant that fails is a row that says so."""

Row = Mapping[str, Any]


def compare(out: Path, *told: str) -> list[dict[str, Any]]:
    """Run `builder compare`, which goes on where it was, and return its rows."""
    command = deployment.builder("compare", NAME, *SIZES, *told, "--output", str(out))
    print(" ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=deployment.ROOT, stdout=sys.stderr, check=False)
    written = out / NAME / "comparison.json"
    if done.returncode not in MAY_FAIL or not written.is_file():
        raise SystemExit(f"`builder compare` ended with code {done.returncode}")
    rows: list[dict[str, Any]] = json.loads(written.read_text(encoding="utf-8"))["rows"]
    return rows


def every(out: Path) -> list[dict[str, Any]]:
    """Compare all that run on a CPU, and two mixtures."""
    return compare(out, *(word for size in FITS for word in ("--fit", size)))


def verified(rows: Sequence[Row]) -> int:
    """Return how many were built, gated, served and verified without a failure."""
    return sum(
        not row.get("failure") and bool(row.get("verified")) and row["verified"]["failed"] == 0
        for row in rows
    )


def apart(rows: Sequence[Row]) -> float:
    """Return by how much the two perplexities of a variant differ at most, as a share."""
    return max(abs(row["twice"]["apart"]) for row in rows if row.get("twice"))


def divergence(rows: Sequence[Row], variant: str) -> float | None:
    """Return a variant's mean KL divergence in nats, None where it was not measured."""
    found = [row["loss"]["divergence"] for row in rows if row["variant"] == variant and row.get("loss")]
    return float(found[0]) if found else None


def refused(row: Row) -> bool:
    """Return whether the gate refuses a row's artifact, by its limits."""
    limits, lost = Limits(**row["limits"]), row["loss"]
    within = lost["ratio"] <= limits.perplexity and lost["divergence"] <= limits.divergence
    return not (within and lost["agreement"] >= limits.agreement)
