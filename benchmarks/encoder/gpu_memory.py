"""What a deployment holds of a GPU's memory; ONNX Runtime gives none back, so that afterwards is the peak."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from workbench import memory

_QUERY = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
_NAME = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]


def megabytes(pid: int) -> float | None:
    """Return the MB (2^20 bytes) of a process and its descendants; None where nobody says."""
    return of(_said(_QUERY), memory.family(pid))


def of(table: str, pids: Collection[int]) -> float | None:
    """Add up the lines `pid, MB` of some processes."""
    rows = [line.split(",") for line in table.splitlines() if line.count(",") == 1]
    found = [float(used) for pid, used in rows if int(pid) in pids and used.strip().isdecimal()]
    return sum(found) if found else None


def name() -> str:
    """Return name, driver and memory of the GPU, nothing where there is none."""
    return _said(_NAME).strip()


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
