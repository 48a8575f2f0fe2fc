"""How much processor time each process of a server takes, by what the process is for."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from pathlib import Path

from workbench import memory

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE = 0.01
_STUB = re.compile(r"triton_python_backend_stub\b.*?/([^/\s]+)/\d+/model\.py")
_KINDS = (
    ("backends.engine.host", "engine host"),
    ("EngineCore", "engine core"),
    ("APIServer", "api server"),
    ("vllm-rs", "api server"),
    ("llm.raw", "raw"),
    ("tritonserver", "tritonserver"),
    ("vllm.entrypoints", "api server"),
    ("builder serve", "builder serve"),
)


class Watch:
    """Looks at a process and all that descends from it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.restart()

    def restart(self) -> None:
        self._before, self._since = _seconds(self._pid), time.monotonic()

    def cores(self) -> dict[str, float]:
        """Return how many cores each kind of process took since the last restart."""
        now, passed = _seconds(self._pid), time.monotonic() - self._since
        taken: Counter[str] = Counter()
        for pid, (kind, seconds) in now.items():
            taken[kind] += seconds - self._before.get(pid, (kind, 0.0))[1]
        cores = {kind: round(seconds / passed, 3) for kind, seconds in taken.items()}
        return {kind: share for kind, share in cores.items() if share > _IDLE}


def kind(command: str) -> str:
    """Return what a process is for, by its command line."""
    stub = _STUB.search(command)
    if stub:
        return f"stub {stub[1]}"
    return next((name for mark, name in _KINDS if mark in command), "other")


def _seconds(pid: int) -> dict[int, tuple[str, float]]:
    found = {}
    for member in memory.family(pid):
        try:
            command = (_PROC / str(member) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            # the name in parentheses may hold spaces
            fields = (_PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        found[member] = (kind(command), (int(fields[11]) + int(fields[12])) / _TICKS)
    return found
