"""Run a command in a child process: its noise goes to a log, its memory returns when it ends."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import complaint, signals
from builder.errors import BuilderError

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_END = 10.0
FULL_BYTES = 1 << 20
"""A disk with less room than this is full, even where the log had no room to say so."""


def run(
    command: Sequence[str],
    log: Path,
    error: type[BuilderError],
    *,
    watch: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> None:
    """Run until it ends; raise `error` with the end of its log when it fails.

    It runs in `folder`, the current one where none is named. `watch` is given the log's text so far, now and
    then. On Ctrl-C the child is ended first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        process: subprocess.Popen[bytes] | None = None
        try:
            with signals.held():
                process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=folder,
                )
            while process.poll() is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                if watch:
                    watch(log.read_text(encoding="utf-8", errors="replace"))
        finally:
            if process is not None and process.poll() is None:
                end(process)
    if process.returncode:
        raise _failure(f"`{shlex.join(command)}` ended with code {process.returncode}", log, error)


def _failure(how: str, log: Path, error: type[BuilderError]) -> BuilderError:
    """Return the error, headed by the cause where the log tells it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    told = complaint.read(text)
    found = f"{told.found}\n{how}" if told.found else f"{how}:\n{complaint.last_lines(text)}"
    remedy = "; ".join(part for part in (told.remedy, _remedy(log, text)) if part)
    return error(found, expected=told.expected, remedy=remedy)


def _remedy(log: Path, text: str) -> str:
    read = f"read its whole log at {log}"
    full = os.strerror(errno.ENOSPC) in complaint.last_lines(text)
    if full or shutil.disk_usage(log.parent).free < FULL_BYTES:
        return f"free space on that disk, or point BUILDER_CACHE or the output at another; {read}"
    return read


def end(process: subprocess.Popen[Any], seconds: float = SECONDS_TO_END) -> None:
    """Ask a process to end, and end it when it does not within so many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
