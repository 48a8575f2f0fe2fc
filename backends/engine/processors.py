"""How many processor cores a process may really use."""

from __future__ import annotations

import os
from pathlib import Path

_SIBLINGS = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_QUOTAS = ("sys/fs/cgroup/cpu.max", "sys/fs/cgroup/cpu/cpu.cfs_quota_us sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores(root: Path = Path("/")) -> int:
    """Return the physical cores that affinity and the container's quota leave to this process, at least 1.

    The quota is cgroup's, of either version (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu).
    """
    mine = os.sched_getaffinity(0)
    cores = len({_text(root / _SIBLINGS.format(processor)) or str(processor) for processor in mine})
    for files in _QUOTAS:
        words = " ".join(_text(root / file) for file in files.split()).split()
        if len(words) == 2 and words[0].isdigit():
            cores = min(cores, -(-int(words[0]) // int(words[1])))
    return max(1, cores)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
