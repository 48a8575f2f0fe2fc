"""A bounded line and a set of running sequences, stepped in turn by one worker thread.

For engines whose library handles one sequence at a time: each gives a `Runner` per sequence, which
knows nothing of requests, and inherits admission, deadlines, cancellation and counters.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from backends.engine.protocol import (
    DeadlineExceeded,
    EngineError,
    Health,
    InvalidRequest,
    Overloaded,
    Sampling,
    Step,
)

COURTESY_SECONDS = 0.005
"""How long a round waits at the most until its steps have been passed on. A library that holds the
interpreter's lock while it computes would otherwise let every response, and every look whether the
client is still there, wait for whole further steps. A consumer that is slower than this waits for nobody."""


class Runner(Protocol):
    """One sequence inside an engine's library; only the worker thread touches it."""

    def turn(self) -> Step | None:
        """Do a small amount of work; return the step it made, None while the prompt is still read."""
        ...


@dataclass
class _Job:
    request: str
    deadline: float | None
    start: Callable[[], Runner]
    deliver: Callable[[Step | EngineError], None]
    runner: Runner | None = None
    cancelled: bool = False
    left: bool = False
    unread: int = 0


class Scheduler:
    """Runs up to `max_active` sequences, keeps up to `max_waiting` more in line."""

    def __init__(self, max_active: int, max_waiting: int) -> None:
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._lock = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._active: list[_Job] = []
        self._closing = False
        self._failure: str | None = None
        self._steps = self._tokens = self._cancelled = 0
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def generate(
        self, request: str, start: Callable[[], Runner], sampling: Sampling
    ) -> AsyncIterator[Step]:
        """Yield the steps of one sequence; steps that pile up while the consumer is busy become one.

        `start` makes the runner, in the worker thread, when a place is free. See Engine.generate.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Step | EngineError] = asyncio.Queue()

        def deliver(item: Step | EngineError) -> None:
            with self._lock:
                job.unread += 1
            try:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            except RuntimeError:  # the loop has closed: nobody is left to tell
                job.left = True

        job = _Job(request, sampling.deadline, start, deliver)
        self._submit(job)
        try:
            while True:
                items = [await queue.get()]
                while not queue.empty():
                    items.append(queue.get_nowait())
                steps = [item for item in items if isinstance(item, Step)]
                if steps:
                    yield merge(steps)
                    if steps[-1].finish_reason:
                        return
                if isinstance(items[-1], EngineError):
                    raise items[-1]
                with self._lock:
                    job.unread -= len(items)
                    self._lock.notify()
        finally:
            job.left = True
            self._wake()

    def abort(self, request: str) -> None:
        """Mark the sequences of a request; the worker drops them before their next turn."""
        with self._lock:
            for job in (*self._active, *self._waiting):
                if job.request == request:
                    job.cancelled = True
            self._lock.notify()

    def health(self) -> Health:
        """Return the counters now."""
        with self._lock:
            return Health(
                active=len(self._active),
                waiting=len(self._waiting),
                steps=self._steps,
                generated_tokens=self._tokens,
                cancelled=self._cancelled,
                failure=self._failure,
            )

    def close(self) -> None:
        """Take no more, finish what runs and waits, end the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    def _wake(self) -> None:
        with self._lock:
            self._lock.notify()

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._failure:
                raise EngineError(f"the engine has failed: {self._failure}")
            if self._closing:
                raise Overloaded("the server is shutting down")
            if len(self._active) + len(self._waiting) >= self._max_active + self._max_waiting:
                raise Overloaded(
                    f"{len(self._active)} requests are running and {len(self._waiting)} waiting, "
                    f"which is all this deployment admits: try again later"
                )
            self._waiting.append(job)
            self._lock.notify()

    def _work(self) -> None:
        try:
            while self._admit():
                for job in list(self._active):
                    self._advance(job)
                with self._lock:
                    self._lock.wait_for(self._all_read, COURTESY_SECONDS)
        except BaseException as error:
            self._fail(error)
            raise

    def _admit(self) -> bool:
        """Wait for work and fill the free places; return False when closed and empty."""
        with self._lock:
            while not self._active and not self._waiting:
                if self._closing:
                    return False
                self._lock.wait()
            for job in [job for job in self._waiting if _over(job)]:
                self._waiting.remove(job)
                self._end(job)
            while self._waiting and len(self._active) < self._max_active:
                self._active.append(self._waiting.popleft())
        return True

    def _all_read(self) -> bool:
        return not any(job.unread and not job.left for job in self._active)

    def _advance(self, job: _Job) -> None:
        if _over(job):
            self._leave(job)
            self._end(job)
            return
        try:
            job.runner = job.runner or job.start()
            step = job.runner.turn()
        except EngineError as error:
            self._leave(job)
            job.deliver(error)
            return
        except Exception as error:  # one sequence's failure in the library is not its neighbours'
            self._leave(job)
            job.deliver(EngineError(f"the engine failed on this request: {error}"))
            return
        with self._lock:
            self._steps += 1
            self._tokens += len(step.ids) if step else 0
        if step:
            if step.finish_reason:
                self._leave(job)
            job.deliver(step)

    def _leave(self, job: _Job) -> None:
        with self._lock:
            self._active.remove(job)
        job.runner = None

    def _end(self, job: _Job) -> None:
        if job.cancelled:
            self._cancelled += 1
            job.deliver(Step((), finish_reason="cancelled"))
        elif not job.left:
            job.deliver(DeadlineExceeded("Request timeout expired"))

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = f"{type(error).__name__}: {error}"
            jobs = [*self._active, *self._waiting]
            self._active.clear()
            self._waiting.clear()
        for job in jobs:
            job.deliver(EngineError(f"the engine has failed: {self._failure}"))


def merge(steps: Sequence[Step]) -> Step:
    """Return consecutive steps of one sequence as one."""
    return Step(
        ids=tuple(token for step in steps for token in step.ids),
        log_probs=tuple(value for step in steps for value in step.log_probs),
        finish_reason=steps[-1].finish_reason,
    )


def require_room(ids: Sequence[int], sampling: Sampling, context: int) -> None:
    """Raise InvalidRequest when prompt and answer do not fit the context of `context` tokens."""
    if not ids:
        raise InvalidRequest("the prompt is empty")
    if len(ids) + sampling.max_tokens > context:
        raise InvalidRequest(
            f"prompt has {len(ids)} tokens and max_tokens is {sampling.max_tokens}, "
            f"the context holds {context}"
        )


def _over(job: _Job) -> bool:
    return job.cancelled or job.left or (job.deadline is not None and time.monotonic() >= job.deadline)
