"""How a converter is started that rounds by texts: what it is asked lies in a file beside the artifact."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from builder import files, quantization
from builder.target import Job

SHARE = 0.95
"""Of the time, where a graph is built afterwards."""

_TOLD = re.compile(r"^converted (\d+) %$", re.MULTILINE)


def command(job: Job, target: str, then: Sequence[str] = ()) -> list[str]:
    """Return the command of the file of `exporting/` that rounds, and has `then` run on what it wrote."""
    method = quantization.converter(job.quantization, target)
    job.out.mkdir(parents=True, exist_ok=True)
    request = job.out.parent / "request.json"
    asked = {
        "source": str(job.checkpoint),
        "out": str(job.out),
        "group": quantization.served(job.quantization, target).group,
        "calibration": job.calibration,
        "samples": job.calibration_samples,
        "length": job.calibration_length,
        "command": list(then),
    }
    files.write_json(request, asked)
    return [sys.executable, "-m", f"builder.exporting.{method}", str(request)]


def share(log: str) -> float:
    """Return which share is done, 0 to `SHARE`, by what was printed."""
    told = _TOLD.findall(log)
    return SHARE * int(told[-1]) / 100 if told else 0.0
