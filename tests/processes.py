"""What a process has started, and whether it still runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def children(process: int) -> list[int]:
    """Return what a process has started, of one that has gone nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(child) for child in listed.split()]
    return []


def family(process: int) -> list[int]:
    """Return what a process has started, and what those have."""
    found = children(process)
    return [*found, *(grand for child in found for grand in family(child))]


def command_line(process: int) -> list[str]:
    """Return the words of a process's command line, none of one that has gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
    return []


def alive(process: int) -> bool:
    """Return whether a process still runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, which it must within half a minute."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
