"""TensorRT-LLM's C++ executor: the model NAME_engine of Triton's tensorrtllm backend, ids in and out.

A thread waits for each running sequence, since Triton's iterators block. No more run than the engine takes at
once; the others stand in a line of ours, where priorities, deadlines and cancels find them. Written after the
sources of TensorRT-LLM 1.2; it has run against a stand-in with the backend's tensors, not yet against itself.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import math
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from backends.engine import executor_place
from backends.engine import executor_tensors as tensors
from backends.engine.executor_tensors import Reader
from backends.engine.mailbox import Item, Mailbox
from backends.engine.protocol import (
    DeadlineExceeded,
    EngineError,
    Health,
    InvalidRequest,
    Overloaded,
    Sampling,
    Step,
)
from backends.engine.scheduler import require_room
from backends.engine.tensorrt_llm_parameters import require_heard
from backends.engine.triton_model import Arrays, Model, Stream, TritonModel

WARMS_UP = False
"""A model cannot ask another one while it loads."""

UNSUPPORTED = frozenset({"beam_width", "length_penalty", "min_p", "top_logprobs"})

SECONDS_OF_FAILURE = 5.0
"""How long a model that was away counts as away, unless it answers: only being asked again it can show."""

SLOTS_FOR_ENDING = 2
"""Threads that tell the engine of sequences nobody waits for."""

_NOT_CACHED = "not found in cache"
"""What the executor says of an adapter that it has not got, or no longer (peftCacheManager.cpp)."""


def create(settings: Mapping[str, Any], folder: Path) -> Executor:
    """Return the engine that asks settings["engine_model"].

    engine_arguments are the `version` of TensorRT-LLM, the engine's `vocabulary`, and whether it gives
    `context_logits` and guides decoding (`guided`); where they say what it was built for, see
    executor_place, that is compared with this place.
    """
    executor_place.require(settings, folder)
    return Executor(TritonModel(settings["engine_model"]), settings, folder)


@dataclass(eq=False)
class _Job:
    request: str
    key: str
    priority: int
    inputs: Mapping[str, Any]
    reader: Reader
    loop: asyncio.AbstractEventLoop
    task: int = 0
    mailbox: Mailbox = field(default_factory=Mailbox)
    entered: float = field(default_factory=time.monotonic)
    stream: Stream | None = None
    over: bool = False
    """Whether its last answer has been passed on, or nobody waits for one."""
    outputs: tuple[str, ...] = tensors.ANSWER


class Executor:
    """The Engine that asks another model; see Engine."""

    name = "tensorrt_llm_executor"
    unsupported = UNSUPPORTED

    def __init__(self, model: Model, settings: Mapping[str, Any], folder: Path) -> None:
        told = settings["engine_arguments"]
        self._model = model
        self._version: str = told["version"]
        self._vocabulary = int(told["vocabulary"])
        self._scores = bool(told.get("context_logits"))
        self._refused = tensors.refused(bool(told.get("guided")))
        self._context = int(settings["context_length"])
        self._adapters = {
            name: (tensors.task(folder / place), folder / place)
            for name, place in settings.get("adapters", {}).items()
        }
        self._sent: set[int] = set()
        self._most = int(settings["max_active"])
        self._line = int(settings["max_waiting"])
        self._prefix, self._numbers = uuid.uuid4().hex[:12], itertools.count()
        self._lock = threading.Condition()
        self._waiting: list[_Job] = []
        self._active: set[_Job] = set()
        self._steps = self._tokens = self._cancelled = 0
        self._failure, self._failed = "", -math.inf
        self._closing = False
        self._followers = ThreadPoolExecutor(self._most, "follower")
        self._enders = ThreadPoolExecutor(SLOTS_FOR_ENDING, "ender")

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        """Yield steps; see Engine.generate."""
        require_room(ids, sampling, self._context)
        require_heard(sampling, self._refused)
        inputs = tensors.asked(ids, sampling, version=self._version, vocabulary=self._vocabulary)
        outputs = (*tensors.ANSWER, *(("output_log_probs",) if sampling.log_probs else ()))
        job = self._job(request, inputs, Reader(sampling), sampling.priority, outputs)
        job.task = self._adapters[sampling.adapter][0] if sampling.adapter else 0
        self._enter(job)
        late = DeadlineExceeded("Request timeout expired")
        alarm = sampling.deadline and job.loop.call_at(sampling.deadline, job.mailbox.put, late)
        try:
            async for step in job.mailbox.steps():
                yield step
        finally:
            if alarm:
                alarm.cancel()
            self._leave([job])

    async def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log probability of each id after the first, given those before it."""
        if not self._scores:
            raise InvalidRequest(
                "engine tensorrt_llm_executor does not support 'prompt_logprobs': it was built without "
                "--gather_context_logits"
            )
        if len(ids) < 2:
            return []
        reader = _Scorer(ids)
        outputs = (*tensors.ANSWER, "context_logits")
        job = self._job("score", tensors.scoring(ids), reader, Sampling(1).priority, outputs)
        self._enter(job)
        try:
            return [value async for step in job.mailbox.steps() for value in step.log_probs]
        finally:
            self._leave([job])

    def abort(self, request: str) -> None:
        """End a request: what stands in line at once, what runs when the engine hears of it."""
        with self._lock:
            gone = [job for job in (*self._active, *self._waiting) if job.request == request and not job.over]
            self._cancelled += len(gone)
        for job in gone:
            _put(job, Step((), finish_reason="cancelled"))
        self._leave(gone)

    def health(self) -> Health:
        """Return the counters now."""
        failed = time.monotonic() - self._failed < SECONDS_OF_FAILURE
        with self._lock:
            return Health(
                active=len(self._active),
                waiting=len(self._waiting),
                steps=self._steps,
                generated_tokens=self._tokens,
                cancelled=self._cancelled,
                failure=self._failure if failed else None,
            )

    def close(self) -> None:
        """Finish requests in flight."""
        with self._lock:
            self._closing = True
            self._lock.wait_for(lambda: not self._active and not self._waiting)
        self._followers.shutdown()
        self._enders.shutdown()

    def _job(
        self, request: str, inputs: Arrays, reader: Reader, priority: int, outputs: tuple[str, ...]
    ) -> _Job:
        key = f"{self._prefix}-{next(self._numbers)}"
        loop = asyncio.get_running_loop()
        return _Job(request, key, priority, inputs, reader, loop, outputs=outputs)

    def _enter(self, job: _Job) -> None:
        with self._lock:
            if self._closing:
                raise Overloaded("the server is shutting down")
            if len(self._active) + len(self._waiting) >= self._most + self._line:
                raise Overloaded(
                    f"{len(self._active)} requests are running and {len(self._waiting)} waiting, "
                    "which is all this deployment admits: try again later"
                )
            bisect.insort(self._waiting, job, key=attrgetter("priority"))
            self._admit()

    def _admit(self) -> None:
        """Start what is next in line while there is room; holds the lock."""
        while self._waiting and len(self._active) < self._most:
            job = self._waiting.pop(0)
            self._active.add(job)
            self._followers.submit(self._follow, job)

    def _leave(self, jobs: Sequence[_Job]) -> None:
        """Forget those that are not over yet; the engine is told of what it runs."""
        with self._lock:
            left = [job for job in jobs if not job.over]
            for job in left:
                job.over = True
                if job in self._waiting:
                    self._waiting.remove(job)
            running = [job for job in left if job in self._active]
            self._lock.notify_all()
        for job in running:
            self._end(job)

    def _end(self, job: _Job) -> None:
        if job.stream is None or not job.stream.cancel():
            self._enders.submit(self._stop, job)

    def _stop(self, job: _Job) -> None:
        """Ask the engine to end the request of this id, as its backend wants it told."""
        try:
            for _ in self._model.ask(job.key, tensors.stopping(), tensors.ANSWER):
                pass
        except EngineError:
            pass  # it has ended by itself, or all have

    def _follow(self, job: _Job) -> None:
        """Hand on the answers of a sequence, until its end."""
        try:
            self._hand_on(job)
        except EngineError as error:
            self._fail(job, error)
        except Exception as error:
            self._fail(job, EngineError(f"the engine's model failed on this request: {error}"))
        finally:
            with self._lock:
                job.over = True
                self._active.remove(job)
                self._admit()
                self._lock.notify_all()

    def _hand_on(self, job: _Job) -> None:
        waited: float | None = time.monotonic() - job.entered
        if job.over:
            return
        for answer in self._answers(job):
            self._failed = -math.inf
            step = job.reader.read(answer)
            with self._lock:
                self._steps += 1
                self._tokens += len(step.ids)
            self._pass(job, Step(step.ids, step.log_probs, step.finish_reason, waited))
            waited = None
        self._pass(job, Step((), finish_reason=job.reader.reason()))

    def _answers(self, job: _Job) -> Iterator[Arrays]:
        """Yield the answers; an adapter goes along when it is new to the engine, or gone from its cache."""
        if not job.task:
            yield from self._asked(job, job.inputs)
            return
        new = job.task not in self._sent
        try:
            yield from self._adapted(job, new)
        except EngineError as error:
            if new or _NOT_CACHED not in str(error):
                raise
            yield from self._adapted(job, True)

    def _adapted(self, job: _Job, whole: bool) -> Iterator[Arrays]:
        weights = self._weights(job.task) if whole else {}
        for answer in self._asked(job, {**job.inputs, **tensors.adapted(job.task, weights)}):
            self._sent.add(job.task)
            yield answer

    def _asked(self, job: _Job, inputs: Arrays) -> Iterator[Arrays]:
        job.stream = self._model.ask(job.key, inputs, job.outputs)
        # whoever left before there was a stream could not end it
        if job.over:
            self._end(job)
        yield from job.stream

    def _weights(self, task: int) -> Arrays:
        folder = next(folder for number, folder in self._adapters.values() if number == task)
        return tensors.adapter(folder)

    def _pass(self, job: _Job, step: Step) -> None:
        """Give a step to whoever waits for it, unless there was a last one."""
        with self._lock:
            if job.over:
                return
            job.over = step.finish_reason is not None
        _put(job, step)

    def _fail(self, job: _Job, error: EngineError) -> None:
        if isinstance(error, Overloaded):
            self._failure, self._failed = str(error), time.monotonic()
        with self._lock:
            over, job.over = job.over, True
        if not over:
            _put(job, error)


class _Scorer(Reader):
    """Reads the logits of a prompt: its answer is one step without ids."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(Sampling(max_tokens=1))
        self._ids = ids

    def read(self, answer: Arrays) -> Step:
        """Return how likely each id after the first was."""
        return Step((), tuple(tensors.scores(answer, self._ids)), "length")


def _put(job: _Job, item: Item) -> None:
    try:
        job.loop.call_soon_threadsafe(partial(job.mailbox.put, item))
    except RuntimeError:
        pass  # the loop has closed: nobody is left to tell
