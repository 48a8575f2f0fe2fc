"""Large reads and writes that cost little more than the disk itself.

A read takes what memory holds of the file already, and goes past the page cache for the rest: filling the
cache with a model that is read once took more processor time than the disk (1.0 s a GB against 0.03).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.errors import SourceError

ALIGNMENT = 4096
"""Of places, lengths and memory of a read past the cache; a disk that wants more gets ordinary reads."""

WRITE_BACK_BYTES = 1 << 20
"""Of writes at least so large the disk is told at once."""

_DIRECT = getattr(os, "O_DIRECT", 0)


class Room:
    """Memory for one read at a time of at most so many bytes, where the disk can put it."""

    def __init__(self, nbytes: int) -> None:
        self.view = memoryview(mmap.mmap(-1, -(-nbytes // ALIGNMENT) * ALIGNMENT + ALIGNMENT))


@dataclass(frozen=True)
class Reader:
    """A file open for reading, twice where it can also be read past the cache."""

    path: Path
    file: int
    direct: int | None

    def read(self, place: int, nbytes: int, room: Room) -> memoryview:
        """Return the bytes from `place`, in the room; raise SourceError where the file ends before."""
        cached = room.view[:nbytes]
        if self._from_cache(place, cached):
            return cached
        found = self._past_cache(place, nbytes, room)
        if found is not None:
            return found
        done = 0
        while done < nbytes:
            count = os.preadv(self.file, [cached[done:]], place + done)
            if not count:
                raise SourceError(
                    f"{self.path} ends at byte {place + done}",
                    expected=f"at least {place + nbytes} bytes: it was cut while it was read",
                    remedy="fetch the file again",
                )
            done += count
        return cached

    def _from_cache(self, place: int, into: memoryview) -> bool:
        if self.direct is None:
            return False
        try:
            return os.preadv(self.file, [into], place, os.RWF_NOWAIT) == len(into)
        except OSError:
            # EAGAIN for what is not there, EOPNOTSUPP for a file system that cannot tell
            return False

    def _past_cache(self, place: int, nbytes: int, room: Room) -> memoryview | None:
        """Return the bytes, None where that is not possible or brings less."""
        if self.direct is None:
            return None
        skipped = place % ALIGNMENT
        whole = -(-(skipped + nbytes) // ALIGNMENT) * ALIGNMENT
        try:
            count = os.preadv(self.direct, [room.view[:whole]], place - skipped)
        except OSError:
            return None
        return room.view[skipped : skipped + nbytes] if count >= skipped + nbytes else None


@contextmanager
def reader(path: Path) -> Iterator[Reader]:
    """Open a file for reading."""
    with ExitStack() as stack:
        file = stack.enter_context(opened(path, os.O_RDONLY))
        try:
            direct = stack.enter_context(opened(path, os.O_RDONLY | _DIRECT)) if _DIRECT else None
        except OSError:
            direct = None
        yield Reader(path, file, direct)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file, for the block."""
    file = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def write(file: int, raw: memoryview, place: int) -> None:
    """Write all bytes at a place."""
    done = 0
    while done < len(raw):
        done += os.pwrite(file, raw[done:], place + done)
    if len(raw) >= WRITE_BACK_BYTES:
        # begins to write it out: the disk is busy from the start, and the sync at the end is short
        os.posix_fadvise(file, place, len(raw), os.POSIX_FADV_DONTNEED)


def sync(path: Path) -> None:
    """See that the disk has a file, or the names in a folder."""
    with opened(path, os.O_RDONLY) as file:
        os.fsync(file)
