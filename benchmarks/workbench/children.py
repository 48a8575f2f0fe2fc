"""Child processes, spoken to in lines of JSON: one peer each (benchmarks/peers/__main__.py), or a library."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from workbench import memory

BENCHMARKS = Path(__file__).resolve().parents[1]


def end_like_a_person() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that every block that started a child ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def let_tokenizers_use_threads() -> None:
    """Drop what switches them off for every process, where the environment does: servers and peers choose."""
    os.environ.pop("TOKENIZERS_PARALLELISM", None)


def kill(pids: Iterable[int]) -> None:
    """Kill those that still run."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself


class PeerFailed(RuntimeError):
    """A peer ended or answered nothing; the text ends with its last words."""


class Child:
    """A process that reads jobs and writes answers, a line of JSON each; it ends with its block, or with us.

    Args:
        log: takes what it writes on stderr.
        session: whether it gets one of its own, out of reach of Ctrl-C.
        seconds_to_end: after which it is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        session: bool = False,
        seconds_to_end: float = 10.0,
    ) -> None:
        self.name = name
        self._log = log
        self._session = session
        self._seconds_to_end = seconds_to_end
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=BENCHMARKS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=session,
            )
        self._hello: dict[str, Any] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def hello(self) -> dict[str, Any]:
        """Wait until it is loaded and return its first line."""
        if self._hello is None:
            self._hello = self._read()
        return self._hello

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send one job and wait for its answer."""
        self.hello()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # reading tells why
        return self._read()

    def close(self) -> None:
        """End it; killed when it does not end by itself, and in a session of its own whatever it has left."""
        assert self._process.stdin is not None and self._process.stdout is not None
        members = memory.family(self.pid) if self._session else []
        try:
            self._process.stdin.close()
            self._process.wait(self._seconds_to_end)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        kill(members)
        self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise PeerFailed(f"{self.name} ended with code {self._process.wait()}:\n" + "\n".join(last))
        document: dict[str, Any] = json.loads(line)
        return document

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Peer(Child):
    """A running `python -m peers ACTION NAME SETTINGS`."""

    def __init__(self, python: Path, action: str, name: str, settings: dict[str, Any], log: Path) -> None:
        super().__init__(name, [str(python), "-m", "peers", action, name, json.dumps(settings)], log)
