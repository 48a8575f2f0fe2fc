"""Processors that stay awake while a server runs: by loops that anything displaces, and that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import main
from builder.serving import wakefulness

SERVER = """
import sys, time
from builder.serving import wakefulness
with wakefulness.awake() as loops:
    print(*loops, flush=True)
    time.sleep(300)
"""


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def runs(pid: int) -> bool:
    """Say whether a process runs; one that waits to be buried does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_every_processor_has_work_that_anything_displaces() -> None:
    with pytest.raises(KeyError), wakefulness.awake() as loops:
        assert len(loops) == len(os.sched_getaffinity(0))
        assert eventually(lambda: all(os.sched_getscheduler(pid) == os.SCHED_IDLE for pid in loops))
        assert {next(iter(os.sched_getaffinity(pid))) for pid in loops} == os.sched_getaffinity(0)
        raise KeyError
    assert not any(runs(pid) for pid in loops)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_loops_on_for_a_server_that_is_gone(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        loops = [int(pid) for pid in server.stdout.readline().split()]
        assert loops
        assert eventually(lambda: all(os.sched_getscheduler(pid) == os.SCHED_IDLE for pid in loops))
        # they ask for their end before they loop
        time.sleep(0.3)
        server.send_signal(how)
    assert eventually(lambda: not any(runs(pid) for pid in loops))


def test_processors_elsewhere_are_not_ours(tmp_path: Path) -> None:
    line = ["serve", str(tmp_path), "--using", "remote", "--url", "http://127.0.0.1:1", "--low-latency"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert "--using remote serves on another" in result.output
