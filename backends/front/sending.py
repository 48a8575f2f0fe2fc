"""Responses on their way to Triton, which returns from a call only once its own process has taken it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable

THREADS = 4
"""Calls under way at once. Most of a call is waiting, during which the interpreter is free; beyond four the
threads wait for each other."""

Call = Callable[[], None]


def share(answer: int) -> int:
    """Return which share an answer's calls are in: those of one share are made one after the other."""
    return answer % THREADS


class Sending:
    """Makes calls, those of one answer in their order; used by one event loop.

    What the loop's tasks leave here is done together, by the loop itself and a few threads, when all of them
    wait again. The loop goes on when all of it is done, so that it never runs ahead of what Triton takes:
    what its engine makes meanwhile becomes fewer, longer responses.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._shares: list[list[Call]] = [[] for _ in range(THREADS)]
        self._is_due = False
        self._waiting: queue.SimpleQueue[list[Call] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name="sending", daemon=True) for _ in range(THREADS - 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, answer: int, call: Call) -> None:
        """Leave a call, which raises nothing, of the answer of that number."""
        self._shares[share(answer)].append(call)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._make_all)

    def close(self) -> None:
        """End the threads, once the loop has ended."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _make_all(self) -> None:
        self._is_due = False
        mine, *others = [calls for calls in self._shares if calls]
        self._shares = [[] for _ in range(THREADS)]
        for calls in others:
            self._waiting.put(calls)
        _make(mine)
        for _ in others:
            self._done.get()

    def _work(self) -> None:
        while (calls := self._waiting.get()) is not None:
            _make(calls)
            self._done.put(None)


def _make(calls: Iterable[Call]) -> None:
    for call in calls:
        call()
