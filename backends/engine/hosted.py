"""Hosted: the front's side of an engine in a process of its own.

The front's interpreter decodes text and sends responses while the engine's does nothing but step. The process
is started again when it ends by itself: what ran then fails, and what comes meanwhile is asked to come again.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from backends.engine import protocol
from backends.engine.mailbox import Item, Mailbox, deliver
from backends.engine.orders import Abort, Add, Heard, News, Score
from backends.engine.process import Ended, EngineProcess
from backends.engine.protocol import DeadlineExceeded, EngineError, Health, Overloaded, Sampling, Step
from backends.engine.scheduler import require_room
from backends.engine.stepper import Progress

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before an engine that ended is started again; twice as many each time, until one has loaded."""


@dataclass(eq=False)
class _Job:
    """A sequence; without a loop until somebody reads its steps, and those that come before are kept here."""

    request: str
    mailbox: Mailbox = field(default_factory=Mailbox)
    loop: asyncio.AbstractEventLoop | None = None
    kept: list[Item] = field(default_factory=list)

    def ready(self, items: Iterable[Item]) -> list[tuple[_Job, Item]]:
        """Return what can be delivered, with its job; keep what cannot yet."""
        if self.loop is None:
            self.kept += items
            return []
        return [(self, item) for item in items]


class Hosted:
    """An Engine whose library runs elsewhere; see Engine."""

    knows_at_once = True

    def __init__(
        self, name: str, unsupported: frozenset[str], settings: Mapping[str, Any], folder: Path
    ) -> None:
        """Start the process and wait until it has loaded; raise EngineError with its reason if it cannot."""
        self.name = name
        self.unsupported = unsupported
        self._folder = folder
        self._context = int(settings["context_length"])
        self._most = int(settings["max_active"]) + int(settings["max_waiting"])
        self._lock = threading.Lock()
        self._keys = itertools.count()
        self._jobs: dict[int, _Job] = {}
        self._health = Health(active=0, waiting=0, steps=0, generated_tokens=0, cancelled=0)
        self._closing = threading.Event()
        self._process = EngineProcess(name, folder)
        try:
            self._process.receive()
        except Ended as error:
            raise EngineError(f"engine {name} did not load: {error}") from error
        self._reader = threading.Thread(target=self._read_until_closed, name="engine", daemon=True)
        self._reader.start()

    def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        """Tell the engine at once, and return the steps; see Engine.generate."""
        require_room(ids, sampling, self._context)
        job = _Job(request)
        key = self._enter(job)
        self._process.send(Add(key, tuple(ids), sampling))
        return _Steps(self, key, job, sampling.deadline)

    async def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log probability of each id after the first, given those before it."""
        if len(ids) < 2:
            return []
        job = _Job("score")
        key = self._enter(job)
        self._process.send(Score(key, tuple(ids)))
        async with aclosing(_Steps(self, key, job, None)) as steps:
            return [value async for step in steps for value in step.log_probs]

    def abort(self, request: str) -> None:
        """End a request now; its engine hears of it before the next step."""
        with self._lock:
            gone = {key: job for key, job in self._jobs.items() if job.request == request}
            for key in gone:
                del self._jobs[key]
            self._health = replace(self._health, cancelled=self._health.cancelled + len(gone))
            cancelled = Step((), finish_reason="cancelled")
            found = [pair for job in gone.values() for pair in job.ready([cancelled])]
        if gone:
            self._process.send(Abort(tuple(gone)))
            _deliver(found)

    def health(self) -> Health:
        """Return the counters now."""
        with self._lock:
            active = min(self._health.active, len(self._jobs))
            return replace(self._health, active=active, waiting=len(self._jobs) - active)

    def close(self) -> None:
        """Finish requests in flight, then end the process."""
        self._closing.set()
        while self._jobs:
            time.sleep(0.01)
        while self._reader.is_alive():
            # it may just have started another
            self._process.end()
            self._reader.join(0.1)

    def _enter(self, job: _Job) -> int:
        with self._lock:
            if self._closing.is_set():
                raise Overloaded("the server is shutting down")
            if self._health.failure:
                raise Overloaded(f"the engine has failed and is started again: {self._health.failure}")
            if len(self._jobs) >= self._most:
                raise Overloaded(
                    f"{len(self._jobs)} requests are running or waiting, "
                    "which is all this deployment admits: try again later"
                )
            key = next(self._keys)
            self._jobs[key] = job
            return key

    def read(self, job: _Job) -> None:
        """Have the loop that runs deliver what comes for a job, after what came before."""
        with self._lock:
            job.loop = asyncio.get_running_loop()
            kept, job.kept = job.kept, []
        for item in kept:
            job.mailbox.put(item)

    def leave(self, key: int) -> None:
        """Forget a sequence; the engine is told when it still runs there."""
        with self._lock:
            known = self._jobs.pop(key, None)
        if known is not None:
            self._process.send(Abort((key,)))

    def _read_until_closed(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                answer = self._process.receive()
            except Ended as error:
                self._fail(str(error))
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
                self._process = EngineProcess(self.name, self._folder)
                continue
            if isinstance(answer, News):
                self._spread(answer)
            else:
                pause = FIRST_PAUSE
                with self._lock:
                    self._health = replace(self._health, failure=None)

    def _spread(self, news: News) -> None:
        """Hand what the steps brought to those who still wait for it."""
        found: list[tuple[_Job, Item]] = []
        with self._lock:
            for progress in news.progress:
                job = self._jobs.get(progress.key)
                if job is None:
                    continue
                if progress.is_last:
                    del self._jobs[progress.key]
                found += job.ready(_items(progress))
            health = self._health
            self._health = replace(
                health,
                active=news.gauges.running,
                steps=health.steps + news.turns,
                generated_tokens=health.generated_tokens + sum(len(one.ids) for one in news.progress),
                cache_used=news.gauges.cache_used,
                prefix_queries=news.gauges.prefix_queries,
                prefix_hits=news.gauges.prefix_hits,
            )
        _deliver(found, partial(self._process.send, Heard()))

    def _fail(self, reason: str) -> None:
        with self._lock:
            jobs = list(self._jobs.values())
            self._jobs.clear()
            self._health = replace(self._health, active=0, failure=reason)
            failed = EngineError(f"the engine has failed: {reason}")
            found = [pair for job in jobs for pair in job.ready([failed])]
        _deliver(found)


class _Steps:
    """What comes for one sequence, for the loop that first reads it; to close it early aborts the sequence.

    Not a generator: one that nobody has begun to read would not abort anything.
    """

    def __init__(self, engine: Hosted, key: int, job: _Job, deadline: float | None) -> None:
        self._engine = engine
        self._key = key
        self._job = job
        self._deadline = deadline
        self._alarm: asyncio.TimerHandle | None = None
        self._steps = job.mailbox.steps()

    def __aiter__(self) -> AsyncIterator[Step]:
        self._engine.read(self._job)
        if self._deadline is not None:
            self._alarm = asyncio.get_running_loop().call_at(self._deadline, self._expire)
        return self

    def __anext__(self) -> Awaitable[Step]:
        return self._steps.__anext__()

    def _expire(self) -> None:
        self._engine.leave(self._key)
        self._job.mailbox.put(DeadlineExceeded("Request timeout expired"))

    async def aclose(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._engine.leave(self._key)
        await self._steps.aclose()


def _items(progress: Progress) -> list[Item]:
    items: list[Item] = []
    if progress.ids or progress.log_probs or progress.finish_reason:
        step = Step(progress.ids, progress.log_probs, progress.finish_reason, progress.waited, progress.tops)
        items.append(step)
    if progress.failure:
        kind, text = progress.failure
        items.append(getattr(protocol, kind)(text))
    return items


def _nothing() -> None:
    pass


def _deliver(items: Sequence[tuple[_Job, Item]], then: Callable[[], None] = _nothing) -> None:
    """Hand items to the loops of their readers, each loop woken once; `then` is called once they are read."""
    for loop in {job.loop for job, _ in items if job.loop is not None}:
        theirs = [(job.mailbox, item) for job, item in items if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_hand_over, theirs, then)
        except RuntimeError:
            continue  # the loop has closed: nobody is left to tell
        # one of the loops tells for all
        then = _nothing
    then()


def _hand_over(items: Sequence[tuple[Mailbox, Item]], then: Callable[[], None]) -> None:
    deliver(items)
    # behind the readers, which are woken in this order
    asyncio.get_running_loop().call_soon(then)
