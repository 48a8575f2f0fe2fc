"""How far a conversion has surely come: a line each time that the disk has all that lies before it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from builder.ranks import disk

STEP = 1 << 28
"""Bytes of the source from one line to the next: about what is done twice after a kill."""


class Journal:
    """A file whose first line says of which conversion it is; each later one how far that has come.

    Args:
        path: of the file; it is made with the first line.
        identity: of the conversion, one line.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self.done = self._read()
        """Bytes of the source, in the order in which they are read, whose results the disk has."""

    def add(self, done: int) -> None:
        """Write that so much is done, and see that the disk has it."""
        with disk.opened(self._path, os.O_RDWR | os.O_CREAT) as file:
            place = os.fstat(file).st_size
            head = "" if place else f"{self._identity}\n"
            # what lost power in the midst of a line left part of it, which the next must not continue
            disk.write(file, memoryview(f"{head}\n{self._line(done)}\n".encode()), place)
            os.fdatasync(file)
        if not place:
            _sync_names(self._path.parent)
        self.done = done

    def _read(self) -> int:
        """Return the last of the lines that are whole; 0 where there are none of this conversion."""
        try:
            first, *lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return 0
        if first != self._identity:
            return 0
        for line in reversed(lines):
            count = line.partition(" ")[0]
            if count.isdecimal() and line == self._line(int(count)):
                return int(count)
        return 0

    def _line(self, done: int) -> str:
        return f"{done} {zlib.crc32(f'{self._identity} {done}'.encode()):08x}"


@contextmanager
def kept(journal: Journal, files: Sequence[int]) -> Iterator[Callable[[int], None]]:
    """Give what is to be called with every count that is done; now and then it becomes a line.

    The disk is waited for in a thread of its own, one line at a time: whoever calls goes on meanwhile. A
    failure of the disk is raised by the call after it.

    Args:
        journal: of the conversion.
        files: that it writes; the disk is made to have them before each line.
    """
    last, writing = journal.done, Future[None]()
    writing.set_result(None)

    def write(done: int) -> None:
        for file in files:
            os.fdatasync(file)
        journal.add(done)

    def reached(done: int) -> None:
        nonlocal last, writing
        if done - last >= STEP and writing.done():
            writing.result()
            last, writing = done, pool.submit(write, done)

    with ThreadPoolExecutor(1) as pool:
        yield reached
    writing.result()


def _sync_names(folder: Path) -> None:
    """See that the disk has the names of all that a folder holds, and its own."""
    for one in (*(path for path in folder.iterdir() if path.is_dir()), folder, folder.parent):
        disk.sync(one)
