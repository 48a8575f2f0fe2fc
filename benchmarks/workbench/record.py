"""Figures and the record of one run: one line each for machines, one file to commit."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "records"
WHERE = "where the record is written; default: records/, and with --quick nowhere"
_PACKAGES = ("numpy", "nvidia-pytriton", "onnxruntime", "onnxruntime-genai", "tokenizers", "tritonclient")


def positive(text: str) -> int:
    """Read a count of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count: a whole number of 1 or more is expected")
    return int(text)


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores, memory, kernel."""
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in processors if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "system": platform.platform(),
        "load_at_end": round(os.getloadavg()[0], 2),
    }


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions in this interpreter, those that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def print_figures(figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        print(f"figure {name} {value:.4g}")


def write(
    script: str,
    figures: Mapping[str, float],
    rows: Sequence[Any],
    arguments: argparse.Namespace,
    **more: Any,
) -> None:
    """Write the record of a run to its --output, else to records/, and of a --quick run nowhere.

    `more` may override or add fields.
    """
    path = arguments.output or (None if arguments.quick else FOLDER / f"{script}.json")
    if path is None:
        return
    document = {
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "rows": list(rows),
        "machine": machine(),
        "versions": versions(),
        "command": shlex.join(["python", f"benchmarks/{script}.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
