"""What rounding a model of Llama-3.1-8B's shape takes of memory: the peak of the process that does it.

It has two layers of random weights: only one is in memory at a time, so 32 take as much and longer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from llm import random_llama
from workbench import deployment

METHODS = ("gptq", "awq")
SHAPE = "8b_two_layers"
SAMPLES, LENGTH, GROUP = 8, 128, 64
"""Texts that are read, and tokens of each: what all texts are as they reach a layer is a small part."""


def rows(tokenizer: Path, work: Path) -> list[dict[str, Any]]:
    """Return for each method the most that was resident, in GB of 10^9 bytes."""
    folder = work / SHAPE
    if not folder.is_dir():
        random_llama.make(folder, tokenizer, SHAPE, "cpu")
    found = []
    for method in METHODS:
        peak, failed = _peak(method, folder, work / method)
        if failed:
            raise SystemExit(f"rounding by {method} ended with code {failed}")
        found.append({"method": method, "layers": 2, "peak_gb": round(peak / 1e9, 2)})
    return found


def _peak(method: str, folder: Path, out: Path) -> tuple[int, int]:
    """Round, and return the bytes that were resident at the most, and the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    request = out / "request.json"
    asked = {
        "source": str(folder),
        "out": str(out / "rounded"),
        "group": GROUP,
        "calibration": "",
        "samples": SAMPLES,
        "length": LENGTH,
        "command": [],
    }
    request.write_text(json.dumps(asked), encoding="utf-8")
    line = [sys.executable, "-m", f"builder.exporting.{method}", str(request)]
    # without a GPU, which would take a part of it
    told = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(line, cwd=deployment.ROOT, stdout=sys.stderr, env=told)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return 1024 * used.ru_maxrss, process.returncode
