"""A door as a process, and the processor time that it took."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench import deployment, memory

RELAY = Path(__file__).with_name("relay.py")
_READY = re.compile(r"READY\s+http://127\.0\.0\.1:(\d+)")
_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS_TO_END = 30


@dataclass(frozen=True)
class Door:
    """One that runs on loopback."""

    name: str
    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Return what all its processes have taken so far, of users' time and of the system's."""
        return sum(_seconds(member) for member in memory.family(self.pid))

    def megabytes(self) -> float:
        return memory.megabytes(self.pid)["pss"]


@contextmanager
def gateway(grpc: str) -> Iterator[Door]:
    """Run `builder gateway` until the block ends; `grpc` is HOST:PORT of Triton."""
    command = deployment.builder("gateway", "--triton", f"grpc://{grpc}", "--port", "0")
    with _running("gateway", command) as door:
        yield door


@contextmanager
def relay(grpc: str) -> Iterator[Door]:
    """Run the tutorial's relay until the block ends."""
    with _running("relay", [sys.executable, str(RELAY), grpc]) as door:
        yield door


@contextmanager
def _running(name: str, command: list[str]) -> Iterator[Door]:
    process = subprocess.Popen(command, cwd=deployment.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = _READY.search(process.stdout.readline())
        if ready is None:
            raise SystemExit(f"the {name} ended with code {process.wait()} before it was ready")
        yield Door(name, int(ready[1]), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _seconds(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it ended meanwhile
    return (int(after_name[11]) + int(after_name[12])) / _TICKS
