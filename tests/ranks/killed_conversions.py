"""Convert again and again, each time killed at another line, until OUT is there.

    killed_conversions.py SOURCE OUT [--power] PLACE ...

A place counts the executed lines of what moves the bytes, in all threads; 0 lets it end. With `--power` the
kill takes the machine along: of what was not synced nothing is there afterwards, which is the worst that a
power loss may do. Prints a line of JSON for each: the lines that were executed, what was said, whether it
was killed, and whether OUT is there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from builder.ranks import blocks, convert, copying, disk, journal, unfinished
from builder.ranks.division import Division

TRACED = {module.__file__ for module in (blocks, convert, copying, disk, journal, unfinished)}
ASKED = convert.Ranks(Division(tensor=2, pipeline=2), "bf16")
BLOCK_BYTES, STEP = 512, 2048


def kill_at(place: int) -> Callable[[], int]:
    """Have this process killed at its line of that number; returns what tells the number of lines so far."""
    count = itertools.count(1)
    reached = [0]

    def line(frame: FrameType, event: str, value: Any) -> Any:
        if event == "line":
            reached[0] = next(count)
            if reached[0] == place:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, event: str, value: Any) -> Any:
        return line if frame.f_code.co_filename in TRACED else None

    threading.settrace(call)
    sys.settrace(call)
    return lambda: reached[0]


def keep_what_is_synced(part: Path, shadow: Path) -> None:
    """Make `shadow` the disk of a folder: it has files as they were when they were synced last."""

    def sync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path.is_file() and path.is_relative_to(part):
            kept = shadow / path.relative_to(part)
            kept.parent.mkdir(parents=True, exist_ok=True)
            copy = kept.with_name(f".{threading.get_ident()}")
            shutil.copyfile(path, copy)
            copy.replace(kept)

    os.fsync = os.fdatasync = sync


def lose_power(part: Path, shadow: Path) -> None:
    """Leave of a folder what was synced."""
    if not part.exists():
        return
    shutil.rmtree(part)
    part.mkdir()
    if shadow.exists():
        for path in shadow.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                (part / path.relative_to(shadow)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, part / path.relative_to(shadow))


def converted(source: Path, out: Path, place: int, told: int) -> None:
    """Convert, in a process of its own; write what is to be printed to an open pipe."""
    blocks.BYTES, journal.STEP = BLOCK_BYTES, STEP
    # all threads come on, in this short time too
    sys.setswitchinterval(1e-5)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        os.write(told, f"{line}\n".encode())

    lines = kill_at(place)
    convert.convert(source, out, ASKED, say=say)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    os.write(told, f"{lines()}\n".encode())


def run(source: Path, out: Path, place: int, shadow: Path | None) -> dict[str, Any]:
    heard, told = os.pipe()
    process = os.fork()
    if not process:
        if shadow:
            keep_what_is_synced(unfinished.beside(out), shadow)
        else:
            # the kernel lives on, and has what was written
            os.fsync = os.fdatasync = lambda file: None
        converted(source, out, place, told)
        os._exit(0)
    os.close(told)
    with os.fdopen(heard) as stream:
        said = stream.read().split("\n")[:-1]
    _, status = os.waitpid(process, 0)
    is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    lines = 0 if is_killed else int(said.pop())
    return {"lines": lines, "said": said, "killed": is_killed, "whole": out.exists()}


def main() -> None:
    power = "--power" in sys.argv
    source, out, *places = [word for word in sys.argv[1:] if word != "--power"]
    shadow = Path(out).with_name("shadow") if power else None
    for place in places:
        print(json.dumps(run(Path(source), Path(out), int(place), shadow)), flush=True)
        if Path(out).exists():
            break
        if shadow:
            lose_power(unfinished.beside(Path(out)), shadow)
    if shadow:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(shadow)


if __name__ == "__main__":
    main()
