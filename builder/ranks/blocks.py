"""The source in small blocks, and the threads that take them in the order in which they lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from builder.ranks.reading import Source

BYTES = 1 << 18
"""What stays in a core's cache between the read and the write: with 8 MB both took twice as long."""

THREADS = 2
"""One looks at its numbers while the other waits for the disk; more only wait for one another's file."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, by any thread, one at a time."""

Goal = TypeVar("Goal")


@dataclass(frozen=True)
class Block(Generic[Goal]):
    """Rows of a source in an open file, and all that is made of them."""

    source: Source
    file: int
    rows: range
    goals: Sequence[Goal]

    @property
    def nbytes(self) -> int:
        return len(self.rows) * self.source.row_bytes

    @property
    def place(self) -> int:
        return self.source.place + self.rows.start * self.source.row_bytes


def cut(
    sources: Sequence[Source], files: Mapping[Path, int], goals: Mapping[str, Sequence[Goal]]
) -> Iterator[Block[Goal]]:
    """Yield the blocks of all sources, file by file; each source has at least one row in a block."""
    for source in sorted(sources, key=lambda source: (source.path, source.place)):
        step = _rows(source)
        for start in range(0, source.rows, step):
            rows = range(start, min(start + step, source.rows))
            yield Block(source, files[source.path], rows, goals.get(source.info.name, ()))


def after(blocks: Iterator[Block[Goal]], done: int) -> Iterator[Block[Goal]]:
    """Yield the blocks that follow those of the first `done` bytes."""
    begin = 0
    for block in blocks:
        if begin >= done:
            yield block
        begin += block.nbytes


def largest(sources: Sequence[Source]) -> int:
    """Return the bytes of the largest block."""
    return max(_rows(source) * source.row_bytes for source in sources)


def _rows(source: Source) -> int:
    return max(1, BYTES // source.row_bytes)


def run(
    blocks: Iterator[Block[Goal]],
    work: Callable[[Block[Goal], memoryview], None],
    largest: int,
    total: int,
    progress: Progress | None,
    done: int = 0,
    reached: Callable[[int], None] | None = None,
) -> None:
    """Do the work on every block, several at a time; what fails first stops the others, and is raised.

    Args:
        blocks: what there is to do, in order.
        work: is given a block, and memory that is the thread's own to read it into.
        largest: the bytes of the largest block.
        total: bytes of all blocks, with those of before.
        progress: hears of it.
        done: bytes of the blocks that were done before.
        reached: hears, one call at a time, how many bytes are done without a gap from the first on.
    """
    queue = _Queue(blocks, total, progress, done, reached)

    def take() -> None:
        own = memoryview(bytearray(largest))
        try:
            while (block := queue.next()) is not None:
                work(block, own)
                queue.done(block)
        except BaseException:
            queue.stop()
            raise

    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(take) for _ in range(THREADS)]
        try:
            for thread in threads:
                thread.result()
        finally:
            # after Ctrl-C too, or the pool would wait for the whole model
            queue.stop()


class _Queue(Generic[Goal]):
    """Hands out what is left, and adds up what was done."""

    def __init__(
        self,
        blocks: Iterator[Block[Goal]],
        total: int,
        progress: Progress | None,
        done: int,
        reached: Callable[[int], None] | None,
    ) -> None:
        self._blocks, self._total, self._progress, self._reached = blocks, total, progress, reached
        self._done, self._stopped, self._lock = done, False, threading.Lock()
        self._handed_out = done
        self._begins: dict[int, int] = {}
        """Of the blocks that are being worked on: identity of the block -> bytes before it."""

    def next(self) -> Block[Goal] | None:
        with self._lock:
            block = None if self._stopped else next(self._blocks, None)
            if block is not None:
                self._begins[id(block)] = self._handed_out
                self._handed_out += block.nbytes
            return block

    def done(self, block: Block[Goal]) -> None:
        with self._lock:
            del self._begins[id(block)]
            self._done += block.nbytes
            if self._reached:
                self._reached(min(self._begins.values(), default=self._handed_out))
            if self._progress:
                self._progress(self._done, self._total)

    def stop(self) -> None:
        self._stopped = True
