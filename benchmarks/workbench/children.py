"""Child processes: one peer each, spoken to in lines of JSON (benchmarks/peers/__main__.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

BENCHMARKS = Path(__file__).resolve().parents[1]
_SECONDS_TO_END = 10


def end_like_a_person() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that every block that started a child ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def let_tokenizers_use_threads() -> None:
    """Drop what switches them off for every process, where the environment does: servers and peers choose."""
    os.environ.pop("TOKENIZERS_PARALLELISM", None)


class PeerFailed(RuntimeError):
    """A peer ended or answered nothing; the text ends with its last words."""


class Peer:
    """A running `python -m peers ACTION NAME SETTINGS`; it ends with its block, or when we die."""

    def __init__(self, python: Path, action: str, name: str, settings: dict[str, Any], log: Path) -> None:
        self.name = name
        self._log = log
        command = [str(python), "-m", "peers", action, name, json.dumps(settings)]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=BENCHMARKS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._hello: dict[str, Any] | None = None

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
        """End it; killed when it does not end by itself."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_SECONDS_TO_END)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
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
