"""Guides: compiled as they come, beside the sequences that run, and kept for who asks the same again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from backends.engine.grammars import STACK_BYTES, Compiler, refused
from backends.engine.guided import Guided
from backends.engine.protocol import DeadlineExceeded, Guide, Overloaded, Sampling
from backends.engine.rehearsal import Rehearsal

KEPT = 16
"""Compiled guides that are kept for who comes next: most clients ask the same again and again."""


@dataclass(eq=False)
class _Waiter:
    """A sequence whose guide is being compiled."""

    request: str
    guide: Guide
    loop: asyncio.AbstractEventLoop
    compiled: Future[Any]
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: bool = False

    def wake(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody is left to wake
            self.loop.call_soon_threadsafe(self.woken.set)


class Guides:
    """Compiles guides in a thread of its own, so that nobody's tokens wait for it; safe from any thread.

    Args:
        tokenizer: the model's tokenizer.json, read when the first guide comes.
        most: how many sequences may wait for their guides.
    """

    def __init__(self, tokenizer: Path, most: int) -> None:
        self._compiler = Compiler(tokenizer)
        self._rehearsal = Rehearsal(tokenizer)
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Guide, Future[Any]] = OrderedDict()
        self._waiters: list[_Waiter] = []
        self._closed = False
        self._thread = _deep_thread()

    @property
    def waiting(self) -> int:
        """Return how many sequences wait for their guides."""
        return len(self._waiters)

    async def open(self, request: str, guide: Guide, sampling: Sampling) -> Guided | None:
        """Return what holds a new sequence to its guide, None when the request was aborted meanwhile.

        Raises InvalidRequest for a guide that cannot be compiled, Overloaded or DeadlineExceeded.
        """
        with self._entered(request, guide) as waiter:
            seconds = None if sampling.deadline is None else sampling.deadline - time.monotonic()
            try:
                await asyncio.wait_for(waiter.woken.wait(), seconds)
            except TimeoutError:
                raise DeadlineExceeded("Request timeout expired") from None
        if waiter.aborted:
            return None
        compiled = waiter.compiled.result()
        # what it had to remember is all that its copies may
        spent = partial(self._forget, guide)
        return Guided(compiled.deep_copy(), self._compiler.tokens, sampling.end_ids, spent)

    def abort(self, request: str) -> None:
        """Let the sequences of a request wait no longer."""
        with self._lock:
            for waiter in self._waiters:
                if waiter.request == request:
                    waiter.aborted = True
                    waiter.wake()

    def close(self) -> None:
        """End the thread, and its process."""
        with self._lock:
            self._closed = True
        self._thread.shutdown()
        self._rehearsal.close()

    @contextmanager
    def _entered(self, request: str, guide: Guide) -> Iterator[_Waiter]:
        with self._lock:
            if len(self._waiters) >= self._most:
                raise Overloaded(
                    f"{self._most} requests wait for their guides to be compiled: try again later"
                )
            waiter = _Waiter(request, guide, asyncio.get_running_loop(), self._compiled(guide))
            self._waiters.append(waiter)
        # not with the lock: it may call at once
        waiter.compiled.add_done_callback(waiter.wake)
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiters.remove(waiter)
                if not any(other.guide == guide for other in self._waiters) and waiter.compiled.cancel():
                    self._kept.pop(guide, None)

    def _compiled(self, guide: Guide) -> Future[Any]:
        """Return a guide that was compiled lately, or will be soon; holds the lock."""
        found = self._kept.pop(guide, None)
        if found is None:
            if self._closed:
                raise Overloaded("the server is shutting down")
            found = self._thread.submit(self._compile, guide)
        self._kept[guide] = found
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _compile(self, guide: Guide) -> Any:
        try:
            self._rehearsal.require(guide)
            return self._compiler.compile(guide)
        except BaseException as error:
            # who asks again is told again, and needs no place here
            self._forget(guide)
            # a panic of the library is no Exception, and would end more than this request
            raise error if isinstance(error, Exception) else refused(str(error)) from error

    def _forget(self, guide: Guide) -> None:
        with self._lock:
            self._kept.pop(guide, None)


def _deep_thread() -> ThreadPoolExecutor:
    """Return an executor of one thread in which the library may recurse deeply: it would not survive less."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guides")
    usual = threading.stack_size(STACK_BYTES)
    try:
        thread.submit(int)
    finally:
        threading.stack_size(usual)
    return thread
