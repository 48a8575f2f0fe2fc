"""A bounded line and a set of running sequences, advanced round by round by one worker thread.

An engine gives a `Runner` per sequence, which knows nothing of requests, and a function that advances
all of them; it inherits admission, deadlines, cancellation and counters.
"""

from __future__ import annotations

import asyncio
import bisect
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from backends.engine.mailbox import Mailbox, deliver, merge
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
"""How long a round waits at the most until its steps have been passed on, for a library that holds the
interpreter's lock while it computes: it would otherwise let every response, and every look whether the
client is still there, wait for whole further steps. A consumer that is slower than this waits for nobody."""


LONGEST_HOLD_SECONDS = 0.15
"""How long steps are held back at the most, whatever the rate of responses: text should seem to flow."""


class Runner(Protocol):
    """One sequence inside an engine's library; only the worker thread touches it."""

    def close(self) -> None:
        """Give back what the sequence holds; called once, when it has ended for whatever reason."""
        ...


class Turner(Runner, Protocol):
    """A runner that advances by itself, for libraries that step one sequence at a time."""

    def turn(self) -> Step | None:
        """Do a small amount of work; return the step it made, None while the prompt is still read."""
        ...


Outcome = Step | Exception | None
"""What a round brought one sequence: a step, its failure, or nothing yet."""

Advance = Callable[[Sequence[Any]], Sequence[Outcome]]
"""Takes the runners of a round, returns an outcome for each; an exception fails the whole engine."""


def one_by_one(runners: Sequence[Turner]) -> list[Outcome]:
    """Advance runners that know nothing of each other."""
    return [_attempt(runner.turn) for runner in runners]


def _attempt(turn: Callable[[], Step | None]) -> Outcome:
    try:
        return turn()
    except Exception as error:  # one sequence's failure in the library is not its neighbours'
        return error


@dataclass(eq=False)
class _Job:
    request: str
    priority: int
    deadline: float | None
    start: Callable[[], Runner]
    loop: asyncio.AbstractEventLoop
    mailbox: Mailbox
    entered: float = field(default_factory=time.monotonic)
    waited: float | None = None
    runner: Runner | None = None
    held: list[Step] = field(default_factory=list)
    begun: bool = False
    cancelled: bool = False
    left: bool = False
    unread: int = 0

    def due(self, outcome: Outcome, passing: bool) -> list[Step | EngineError]:
        """Return what the consumer gets now: all it holds when `passing`, its first and last step at once."""
        if isinstance(outcome, Exception):
            held, self.held = self.held, []
            return [*held, _for_client(outcome)]
        if outcome is not None:
            self.held.append(outcome)
        if not self.held or (self.begun and not passing and not _last(outcome)):
            return []
        waited, self.waited = self.waited, None
        held, self.held, self.begun = self.held, [], True
        return [merge(held)._replace(waited=waited)]


class Scheduler:
    """Runs up to `max_active` sequences, keeps up to `max_waiting` more in line, the most urgent in front.

    Args:
        advance: does a round.
        courtesy: see COURTESY_SECONDS.
        responses_a_second: how often steps are passed on at the most, over all sequences; a sequence's
            first and last step are never held back.
        interrupt: ends the round that runs, which then brings nothing; called when nobody waits for it.
    """

    def __init__(
        self,
        max_active: int,
        max_waiting: int,
        advance: Advance = one_by_one,
        courtesy: float = COURTESY_SECONDS,
        responses_a_second: float = math.inf,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._advance = advance
        self._courtesy = courtesy
        self._responses_a_second = responses_a_second
        self._interrupt = interrupt
        self._passed = 0.0
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._lock = threading.Condition()
        self._waiting: list[_Job] = []
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
        job = _Job(request, sampling.priority, sampling.deadline, start, loop, Mailbox())
        self._submit(job)
        try:
            async for step in job.mailbox.steps(partial(self._note_read, job)):
                yield step
        finally:
            job.left = True
            with self._lock:
                self._recheck()

    def abort(self, request: str) -> None:
        """Mark the sequences of a request; the worker drops them before their next turn."""
        with self._lock:
            for job in (*self._active, *self._waiting):
                if job.request == request:
                    job.cancelled = True
            self._recheck()

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

    def _recheck(self) -> None:
        """Let the worker see who has gone, at once when a round runs for nobody else; holds the lock."""
        self._lock.notify()
        if self._active and all(job.cancelled or job.left for job in self._active):
            self._interrupt()

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
            bisect.insort(self._waiting, job, key=attrgetter("priority"))
            self._lock.notify()

    def _work(self) -> None:
        try:
            while self._admit():
                self._round()
                with self._lock:
                    self._lock.wait_for(self._all_read, self._courtesy)
        except BaseException as error:
            self._fail(error)
            raise

    def _admit(self) -> bool:
        """Wait for work, drop what is over, fill the free places; return False when closed and empty."""
        with self._lock:
            while not self._active and not self._waiting:
                if self._closing:
                    return False
                self._lock.wait()
            over = [job for job in (*self._active, *self._waiting) if _over(job)]
            for job in over:
                (self._active if job in self._active else self._waiting).remove(job)
            while self._waiting and len(self._active) < self._max_active:
                job = self._waiting.pop(0)
                job.waited = time.monotonic() - job.entered
                self._active.append(job)
        for job in over:
            self._close(job)
        self._deliver([(job, item) for job in over if (end := self._end(job)) for item in (*job.held, end)])
        return True

    def _round(self) -> None:
        """Advance every running sequence once, then pass on what came of it, all at one go."""
        made: list[tuple[_Job, Outcome]] = []
        for job in self._active:
            if job.runner is None:
                try:
                    job.runner = job.start()
                except Exception as error:
                    made.append((job, error))
        running = [job for job in self._active if job.runner is not None]
        made += zip(running, self._advance([job.runner for job in running]), strict=True)
        ended = [job for job, outcome in made if _last(outcome)]
        with self._lock:
            for job in ended:
                self._active.remove(job)
            self._steps += len(running)
            self._tokens += sum(len(outcome.ids) for _, outcome in made if isinstance(outcome, Step))
        for job in ended:
            self._close(job)
        passing = self._is_time_to_pass(len(running))
        self._deliver([(job, item) for job, outcome in made for item in job.due(outcome, passing)])

    def _is_time_to_pass(self, running: int) -> bool:
        """Return whether this round passes on what is held: for all at once, so that readers wake once."""
        now = time.monotonic()
        if now - self._passed < min(running / self._responses_a_second, LONGEST_HOLD_SECONDS):
            return False
        self._passed = now
        return True

    def _deliver(self, items: Sequence[tuple[_Job, Step | EngineError]]) -> None:
        """Hand items to the loops of their consumers, each loop woken once."""
        with self._lock:
            for job, _ in items:
                job.unread += 1
        for loop in {job.loop for job, _ in items}:
            theirs = [(job.mailbox, item) for job, item in items if job.loop is loop]
            try:
                loop.call_soon_threadsafe(deliver, theirs)
            except RuntimeError:  # the loop has closed: nobody is left to tell
                for job, _ in items:
                    job.left = job.left or job.loop is loop

    def _note_read(self, job: _Job, items: int) -> None:
        with self._lock:
            job.unread -= items
            self._lock.notify()

    def _all_read(self) -> bool:
        return not any(job.unread and not job.left for job in self._active)

    def _close(self, job: _Job) -> None:
        runner, job.runner = job.runner, None
        if runner is not None:
            runner.close()

    def _end(self, job: _Job) -> Step | EngineError | None:
        """Return what the consumer of a job that is over still gets."""
        if job.cancelled:
            self._cancelled += 1
            return Step((), finish_reason="cancelled")
        return None if job.left else DeadlineExceeded("Request timeout expired")

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = f"{type(error).__name__}: {error}"
            jobs = [*self._active, *self._waiting]
            self._active.clear()
            self._waiting.clear()
        self._deliver([(job, EngineError(f"the engine has failed: {self._failure}")) for job in jobs])


def _last(outcome: Outcome) -> bool:
    return isinstance(outcome, Exception) or bool(outcome and outcome.finish_reason)


def _for_client(outcome: Step | Exception) -> Step | EngineError:
    if isinstance(outcome, Step | EngineError):
        return outcome
    return EngineError(f"the engine failed on this request: {outcome}")


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
