"""The front model inside Triton: requests in, responses out; everything else is in `backends`."""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

if not __name__.startswith("backends."):
    # a package of the same name may be installed: what stands beside this file comes first
    sys.path.insert(0, str(Path(__file__).parent))

from backends import turns
from backends.engine.protocol import Engine, Sampling, Step
from backends.front import generation, sending
from backends.front.answer import Answer, send_error
from backends.front.generation import Chunk
from backends.front.limits import Limits
from backends.front.lookout import Lookout
from backends.front.metrics import Metrics
from backends.front.outputs import Maker, Outputs
from backends.front.request import Request, parse
from backends.front.sending import Sending
from backends.front.timings import Stopwatch, Timings
from backends.front.values import Tensors
from backends.text.chat import Chat
from backends.text.decoding import Vocabulary
from backends.text.encoding import Encoder

WARM_UP_TOKENS = 2

SECONDS_TO_BEGIN = 0.0005
"""How long the reading of the next request waits for the one before it. An idle loop needs less; one that is
busy with others' answers must not hold up those who come."""


class TritonPythonModel:
    """Decoupled: `execute` only admits, an event loop in a thread of its own answers."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load tokenizer and engine, and answer one prompt, so that the first client waits for nothing."""
        turns.shorten()
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self._reasoning = settings["reasoning"]
        self._encoder = Encoder(folder / "tokenizer", settings["bos_id"])
        self._vocabulary = Vocabulary.load(folder / "tokenizer" / "tokenizer.json")
        self._chat = Chat(folder / "tokenizer", self._encoder)
        module = importlib.import_module(f"backends.engine.{settings['engine']}")
        self._engine: Engine = module.create(settings, folder)
        self._limits = Limits(
            context=settings["context_length"],
            vocabulary=self._encoder.size,
            end_ids=frozenset(settings["end_ids"]),
            deadline_seconds=settings["default_deadline_seconds"],
            engine=self._engine.name,
            unsupported=self._engine.unsupported,
            adapters=tuple(settings.get("adapters", ())),
            lacking=getattr(self._engine, "lacking", {}),
        )
        self._numbers = itertools.count()
        self._timings = Timings()
        self._makers = [Maker(pb_utils.Tensor) for _ in range(sending.THREADS)]
        self._lookout = Lookout(self._engine.abort)
        self._loop = asyncio.new_event_loop()
        self._serving: set[asyncio.Task[None]] = set()
        self._sending = Sending(self._loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="responses", daemon=True)
        self._thread.start()
        if getattr(module, "WARMS_UP", True):
            asyncio.run_coroutine_threadsafe(self._warm_up(), self._loop).result()
        # what was loaded stays: looking through it for garbage would hold answers up
        gc.collect()
        gc.freeze()
        self._metrics = Metrics(pb_utils, args["model_name"], self._engine.health, self._timings)

    def execute(self, requests: list[Any]) -> None:
        """Admit requests; each is answered, or refused by itself, through its own sender."""
        arrived = time.monotonic()
        for request in requests:
            sender = request.get_response_sender()
            number = next(self._numbers)
            try:
                parsed = self._parse(request)
                outputs = self._outputs(request, number)
                answer = Answer(pb_utils, sender, self._sending, outputs, number, arrived)
                steps = self._steps(answer.name, parsed)
            except Exception as error:
                send_error(pb_utils, sender, error)
                continue
            self._admitted(request, answer)
            self._begin(self._serve(answer, parsed, steps))

    def is_ready(self) -> bool:
        """Say whether the engine can be asked; Triton asks that from 26.03 on."""
        return self._engine.health().failure is None

    def finalize(self) -> None:
        """Let requests in flight finish, then free the engine."""
        self._engine.close()
        pending = asyncio.run_coroutine_threadsafe(_all_other_tasks(), self._loop)
        pending.result()
        self._metrics.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._sending.close()

    def _tensors(self, request: Any) -> Tensors:
        """Return what was sent, under the names of this front."""
        return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}

    def _outputs(self, request: Any, number: int) -> Outputs:
        return Outputs(self._makers[sending.share(number)], request.requested_output_names())

    def _admitted(self, request: Any, answer: Answer) -> None:
        """Take note of what is about to be answered."""

    def _parse(self, request: Any) -> Request:
        tensors = self._tensors(request)
        parameters = json.loads(request.parameters() or "{}")
        # `generate` leaves the timeout among the parameters, every other call sets it on the request
        timeout = request.timeout() or parameters.get("timeout", 0)
        return parse(tensors, parameters, self._limits, self._encoder, self._chat, timeout)

    def _steps(self, name: str, request: Request) -> list[AsyncIterator[Step]]:
        """Return what the engine will make of a request, for each of its sequences."""
        places = range(request.sequences)
        try:
            return [self._engine.generate(name, request.ids, request.sampling_of(place)) for place in places]
        except Exception:
            self._engine.abort(name)
            raise

    def _begin(self, serving: Coroutine[Any, Any, None]) -> None:
        """Have the loop serve a request, and tell the engine of it before the next one is read.

        Tokenizing gives the interpreter back so often that a thread which waits for it may stay behind: of
        many requests that come at once the engine would hear when most have been read, and idle until then.
        """
        begun = threading.Event()
        self._loop.call_soon_threadsafe(self._start, serving, begun)
        if not getattr(self._engine, "knows_at_once", False):
            begun.wait(SECONDS_TO_BEGIN)

    def _start(self, serving: Coroutine[Any, Any, None], begun: threading.Event) -> None:
        task = self._loop.create_task(serving)
        # a loop does not keep its tasks
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # behind the task's first step
        self._loop.call_soon(begun.set)

    async def _serve(self, answer: Answer, request: Request, steps: Sequence[AsyncIterator[Step]]) -> None:
        self._lookout.enter(answer)
        try:
            scores = tuple(await self._engine.score(request.ids)) if request.prompt_log_probs else ()
            await _all_or_none(
                self._serve_one(answer, request, place, made, scores) for place, made in enumerate(steps)
            )
            answer.end()
        except Exception as error:
            self._engine.abort(answer.name)
            answer.fail(error)
        finally:
            self._lookout.leave(answer)

    async def _serve_one(
        self,
        answer: Answer,
        request: Request,
        place: int,
        steps: AsyncIterator[Step],
        scores: Sequence[float],
    ) -> None:
        stopwatch = Stopwatch(self._timings, answer.arrived, len(request.ids))
        made = generation.generate(steps, request, place, self._vocabulary, self._reasoning, stopwatch)
        chunks: list[Chunk] = []
        async with aclosing(made):
            async for chunk in made:
                if self._lookout.has_gone(answer) and not chunk.finish_reason:
                    continue
                chunks.append(chunk)
                if request.stream:
                    answer.send(chunk, len(request.ids), scores)
        if not request.stream:
            answer.send(generation.join(chunks), len(request.ids), scores)

    async def _warm_up(self) -> None:
        ids = self._encoder.encode("Hello") or [0]
        steps: AsyncIterator[Any] = self._engine.generate("warm-up", ids, Sampling(max_tokens=WARM_UP_TOKENS))
        async for _ in steps:
            pass


async def _all_or_none(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; when one fails the others are ended first: after the error nothing may be sent."""
    first, *others = parts
    if not others:
        await first
        return
    tasks = [asyncio.create_task(part) for part in (first, *others)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _all_other_tasks() -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
