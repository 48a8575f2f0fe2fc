"""The compute capabilities of this machine's GPUs."""

from __future__ import annotations

import subprocess

_QUERY = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]


def here() -> tuple[str, ...]:
    """Return each once, such as "9.0"; () without a driver."""
    try:
        said = subprocess.run(_QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
