"""Load: when requests are sent, and what is written down of each.

Closed loop: N workers, each sends its next request when its last has ended. Open loop: requests
arrive at random (Poisson) whatever the server does; an answer's latency counts from the moment its
request was due, so that a server which stalls cannot hide behind requests that were never sent.

Either way the load goes on, with requests that are not measured, until the last measured one has
ended: none of them is answered by a server that has less to do. What then is left is cancelled.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from builder.measuring.door import Door, Heard
from builder.measuring.errors import Refused
from builder.measuring.prompts import Order
from builder.measuring.task import Load

FAILURES = 20
"""That many requests in a row, or two rounds, without an answer end a run: the server is gone."""
LOOK = 0.05
"""Seconds between two looks for silent requests."""


@dataclass
class Record:
    """One request, in seconds of `time.perf_counter`: when it was due, sent and over, what was heard.

    `measured` is False for requests that only keep the load up. `error` is "" for an answer.
    """

    due: float
    measured: bool
    sent: float = 0.0
    ended: float = 0.0
    heard: Heard = field(default_factory=list)
    error: str = ""


@dataclass
class Run:
    """All requests of one run between `started` and `ended`; `gave_up` says why it stopped early."""

    started: float
    ended: float = 0.0
    records: list[Record] = field(default_factory=list)
    gave_up: str = ""


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Yield the seconds after the start at which requests are due; gaps are exponential."""
    chance, due = random.Random(seed), 0.0
    while True:
        due += chance.expovariate(rate)
        yield due


async def run(
    load: Load, door: Door, order: Order, seed: int, patience: float, progress: Callable[[float], None]
) -> Run:
    """Put the load on the door and return what came of it."""
    made = _Loading(load, door, order, patience, progress)
    watch = asyncio.create_task(made.watch())
    try:
        await (made.closed() if load.kind == "closed" else made.open(arrivals(load.rate, seed)))
    finally:
        watch.cancel()
        await made.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    return made.run


class _Loading:
    """A run while it is made."""

    def __init__(
        self, load: Load, door: Door, order: Order, patience: float, progress: Callable[[float], None]
    ) -> None:
        self._load, self._door, self._order = load, door, order
        self._patience, self._progress = patience, progress
        self._numbers = itertools.count()
        self._flying: dict[asyncio.Task[None], Record] = {}
        self._failures = 0
        self._measured_flying = self._measured_over = 0
        self._done = asyncio.Event()
        self.run = Run(time.perf_counter())

    async def closed(self) -> None:
        for _ in range(self._load.concurrency):
            self._begin(time.perf_counter())
        await self._done.wait()

    async def open(self, schedule: Iterator[float]) -> None:
        for after in schedule:
            due = self.run.started + after
            delay = due - time.perf_counter()
            if delay > 0:
                try:
                    await asyncio.wait_for(self._done.wait(), delay)
                except TimeoutError:
                    pass
            else:
                # overdue arrivals must not keep answers from being heard
                await asyncio.sleep(0)
            self._end_perhaps()
            if self._done.is_set():
                return
            self._begin(due)

    # -- one request ------------------------------------------------------------------------------

    def _begin(self, due: float) -> None:
        number = next(self._numbers)
        record = Record(due, self._is_measured(number, due))
        self._measured_flying += record.measured
        self.run.records.append(record)
        task = asyncio.create_task(self._ask(record, number))
        self._flying[task] = record
        task.add_done_callback(self._over)

    def _is_measured(self, number: int, due: float) -> bool:
        if self._load.seconds:
            return number == 0 or due - self.run.started < self._load.seconds
        return number < self._load.requests

    async def _ask(self, record: Record, number: int) -> None:
        record.sent = time.perf_counter()
        try:
            await self._door.ask(self._order.prompt(number), record.heard)
        except Refused as refusal:
            record.error = str(refusal) or "refused without a word"
        except asyncio.CancelledError:
            if not record.error:
                record.error = "not answered yet when the run was given up"
        finally:
            record.ended = time.perf_counter()

    def _over(self, task: asyncio.Task[None]) -> None:
        record = self._flying.pop(task)
        if not task.cancelled() and task.exception() is not None:
            record.error = f"Bug: {task.exception()!r}"
        self._measured_flying -= record.measured
        self._measured_over += record.measured
        self._failures = self._failures + 1 if record.error else 0
        if self._done.is_set():
            return
        self._give_up_perhaps(record)
        self._progress(self._share())
        self._end_perhaps()
        if self._load.kind == "closed" and not self._done.is_set() and self._goes_on():
            self._begin(time.perf_counter())

    def _goes_on(self) -> bool:
        return self._load.kept_up or len(self.run.records) < self._load.requests

    def _end_perhaps(self) -> None:
        if self._measured_flying or self._done.is_set():
            return
        if self._load.seconds:
            more = time.perf_counter() - self.run.started < self._load.seconds
        else:
            more = len(self.run.records) < self._load.requests
        if not more:
            self._end()

    def _share(self) -> float:
        passed = time.perf_counter() - self.run.started
        if self._load.seconds:
            return min(1.0, passed / self._load.seconds)
        return self._measured_over / self._load.requests

    def _give_up_perhaps(self, last: Record) -> None:
        round_ = max(1, self._load.concurrency)
        silent = last.error.startswith(SILENCE)
        if self._failures >= (round_ if silent else max(FAILURES, 2 * round_)):
            self.run.gave_up = f"{self._failures} requests in a row failed, the last with: {last.error}"
            self._end()

    def _end(self) -> None:
        self.run.ended = time.perf_counter()
        self._done.set()

    # -- all requests -----------------------------------------------------------------------------

    async def watch(self) -> None:
        """Give up requests of which nothing was heard for as long as the patience lasts."""
        while True:
            await asyncio.sleep(min(LOOK, self._patience / 4))
            limit = time.perf_counter() - self._patience
            for task, record in list(self._flying.items()):
                last = record.heard[-1][0] if record.heard else record.sent or time.perf_counter()
                if last < limit and not record.error:
                    record.error = f"{SILENCE} within {self._patience:g} s"
                    task.cancel()

    async def cancel(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        left = list(self._flying)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if not self.run.ended:
            self.run.ended = time.perf_counter()


SILENCE = "no response"
