"""Reads and writes at places of open files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import SourceError


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file, for the block."""
    file = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def read(file: int, into: memoryview, place: int, path: Path) -> None:
    """Fill the memory from a place; raise SourceError, which names the path, where the file ends before."""
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], place + done)
        if not count:
            raise SourceError(
                f"{path} ends at byte {place + done}",
                expected=f"at least {place + len(into)} bytes: it was cut while it was read",
                remedy="fetch the file again",
            )
        done += count


def write(file: int, raw: memoryview, place: int) -> None:
    """Write all bytes at a place."""
    done = 0
    while done < len(raw):
        done += os.pwrite(file, raw[done:], place + done)


def sync(path: Path) -> None:
    """See that the disk has a file, or the names in a folder."""
    with opened(path, os.O_RDONLY) as file:
        os.fsync(file)
