"""The peers' processes: one each, in its own environment, with whatever it starts itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from workbench import children, memory

from encoder import load
from encoder.doors import Door, Refused, Vector

Settings = dict[str, Any]
_PROC = Path("/proc")
_SECONDS_TO_BOOT = 180
_SECONDS_TO_END = 10


class Child(children.Child):
    """A running `python -m encoder.peers ...` in a session of its own; all of it ends with its block."""

    def __init__(
        self, python: Path, action: str, name: str, settings: Settings, log: Path, port: int = 0
    ) -> None:
        command = [str(python), "-m", "encoder.peers", action, name, json.dumps(settings), str(port)]
        super().__init__(name, command, log, session=True)

    def require_alive(self) -> None:
        """Raise PeerFailed with its last words when it has ended."""
        if self._process.poll() is not None:
            self._read()

    def close(self) -> None:
        """End it as its own Ctrl-C would, then kill what is left of its family."""
        members = memory.family(self.pid)
        self._signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        children.kill(members)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def rest(self) -> None:
        """Stop it and all that it started, until it is woken."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for member in memory.family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(member, number)


class Library(Child):
    """A library in a process of its own, asked for whole lists of texts."""

    def __init__(self, python: Path, name: str, settings: Settings, log: Path) -> None:
        super().__init__(python, "library", name, settings, log)

    def embed(self, texts: Sequence[str], *, alone: bool) -> load.Run:
        """Embed texts, one after the other if `alone`; the latencies are those of the calls."""
        answer = self.ask({"texts": list(texts), "alone": alone, "vectors": False})
        return load.Run(answer["seconds"], answer["latencies_ms"], len(texts))

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        answer = self.ask({"texts": list(texts), "alone": False, "vectors": True})
        return [np.array(vector, dtype=np.float32) for vector in answer["vectors"]]


class Server(Child):
    """A peer's server behind its door."""

    def __init__(self, python: Path, name: str, settings: Settings, log: Path, door: Door, port: int) -> None:
        super().__init__(python, "serve", name, settings, log, port)
        self.door = door

    def wait(self) -> None:
        """Return when it has answered; raise PeerFailed when it ends or takes too long."""
        deadline = time.monotonic() + _SECONDS_TO_BOOT
        while True:
            self.require_alive()
            try:
                load.vectors(self.door, ["hello"])
                return
            except Refused as refusal:
                if time.monotonic() > deadline:
                    raise children.PeerFailed(f"{self.name} does not answer: {refusal}") from refusal
            time.sleep(0.2)


def peak_megabytes(pid: int) -> float:
    """Return the sum of the peaks of resident memory of a process and its descendants, in MB (2^20 bytes)."""
    total = 0
    for member in memory.family(pid):
        try:
            lines = (_PROC / str(member) / "status").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return total / 1024
