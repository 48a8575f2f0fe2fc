"""TensorRT-LLM's LLM API: token ids in and out; its executor is a process of its own, one for each GPU.

Written for 1.0 to 1.4 as their sources and documentation tell (tensorrt_llm/llmapi/llm.py,
executor/result.py); it has run against a stand-in with these signatures, not yet against the library.
Answers come through an event loop, which is the API's own way to wait for many requests at once.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import queue
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.engine import model_yaml
from backends.engine.hosted import Hosted
from backends.engine.protocol import EngineError, InvalidRequest, Sampling
from backends.engine.stepper import Gauges, Progress
from backends.engine.tensorrt_llm_parameters import ignored, parameters, require_heard, sampler

UNSUPPORTED = frozenset({"beam_width", "length_penalty", "priority", "top_logprobs"})

SECONDS_OF_SILENCE = 1.0
"""After so long without an answer the executor is asked whether it is alive: its death wakes nobody."""

_ROWS = 64
"""How many rows of a prompt's logits are looked at at once: of a large vocabulary all are gigabytes."""

_REASONS = {"stop": "stop", "length": "length", "cancelled": "cancelled"}


def create(settings: Mapping[str, Any], folder: Path) -> Hosted:
    """Start TensorRT-LLM in a process of its own, told engine_arguments."""
    return Hosted("tensorrt_llm", UNSUPPORTED, settings, folder)


def stepper(settings: Mapping[str, Any], folder: Path) -> TensorrtLlm:
    """Load the checkpoint at `folder`/settings["model"]; engine_arguments are fields of TorchLlmArgs.

    A model.yaml in the folder says both instead.
    """
    import tensorrt_llm
    from tensorrt_llm.llmapi import LLM, SamplingParams, TorchLlmArgs

    version = tensorrt_llm.__version__
    model, tokenizer, asked = model_yaml.llm(folder) or (
        folder / settings["model"],
        folder / "tokenizer",
        dict(settings["engine_arguments"]),
    )
    told = {**asked, **sampler(version, TorchLlmArgs.model_fields, asked)}
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return TensorrtLlm(
        LLM(model=str(model), tokenizer=str(tokenizer), **told),
        vocabulary=int(config["vocab_size"]),
        slots=int(settings["max_active"]),
        ignored=ignored(version, inspect.signature(SamplingParams).parameters, told),
    )


class _Ended(Exception):
    """A sequence of which nothing more can be told."""


@dataclass(eq=False)
class _Sequence:
    """What was asked; `task` and `output` are of the event loop's thread, which follows it."""

    key: int
    ids: list[int]
    asked: Any
    ends: frozenset[int] = frozenset()
    scored: bool = False
    heard: bool = False
    sent: int = 0
    """How many of its ids have been told of."""
    output: Any = None
    task: asyncio.Task[None] | None = None


class TensorrtLlm:
    """The Stepper of TensorRT-LLM; see Stepper."""

    def __init__(self, llm: Any, *, vocabulary: int, slots: int, ignored: Collection[str]) -> None:
        self._llm = llm
        self._vocabulary = vocabulary
        self._slots = slots
        self._ignored = ignored
        # a prompt whose prefix lies in the cache has no logits there: a salt of its own lets it find none
        self._salts = "cache_salt" in inspect.signature(llm.generate_async).parameters
        self._numbers = itertools.count()
        self._running: dict[int, _Sequence] = {}
        self._came: queue.SimpleQueue[Progress | BaseException | None] = queue.SimpleQueue()
        self._queried = self._found = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outputs", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def add(self, key: int, ids: Sequence[int], sampling: Sampling) -> None:
        """Take a sequence; see Stepper.add."""
        require_heard(sampling, self._ignored)
        asked = _asked(parameters(sampling, len(ids)), self._vocabulary)
        self._take(_Sequence(key, list(ids), asked, sampling.end_ids))

    def score(self, key: int, ids: Sequence[int]) -> None:
        """Take a prompt; see Stepper.score."""
        told = {"max_tokens": 1, "end_id": -1, "ignore_eos": True, "detokenize": False}
        asked = _asked({**told, "return_context_logits": True}, self._vocabulary)
        self._take(_Sequence(key, list(ids), asked, scored=True))

    def abort(self, keys: Sequence[int]) -> None:
        """End sequences."""
        for key in keys:
            sequence = self._running.pop(key, None)
            if sequence is not None:
                self._loop.call_soon_threadsafe(_end, sequence)

    def step(self) -> list[Progress]:
        """Wait for whatever comes next; raise what the executor has died of."""
        try:
            came = [self._came.get(timeout=SECONDS_OF_SILENCE)]
        except queue.Empty:
            self._require_alive()
            return []
        while not self._came.empty():
            came.append(self._came.get())
        told = [_raised(one) for one in came if one is not None]
        return [progress for progress in told if self._is_awaited(progress)]

    def wake(self) -> None:
        """Put nothing among what comes."""
        self._came.put(None)

    def gauges(self) -> Gauges:
        """Return what can be told without its statistics of every iteration: nothing of the cache's share."""
        running = min(len(self._running), self._slots)
        return Gauges(
            running=running,
            waiting=len(self._running) - running,
            prefix_queries=self._queried,
            prefix_hits=self._found,
        )

    def close(self) -> None:
        """End the executor."""
        self._llm.shutdown()
        self._loop.call_soon_threadsafe(self._loop.create_task, _finish(self._loop))
        self._thread.join()
        self._loop.close()

    def _take(self, sequence: _Sequence) -> None:
        self._running[sequence.key] = sequence
        self._loop.call_soon_threadsafe(self._start, sequence)

    def _is_awaited(self, progress: Progress) -> bool:
        known = progress.key in self._running
        if known and progress.is_last:
            del self._running[progress.key]
        return known

    def _require_alive(self) -> None:
        # what `GET /health` of trtllm-serve asks since 1.1
        healthy = getattr(self._llm, "_check_health", None)
        if healthy is not None and not healthy():
            raise EngineError("TensorRT-LLM's executor has ended")

    def _start(self, sequence: _Sequence) -> None:
        sequence.task = self._loop.create_task(self._follow(sequence))

    async def _follow(self, sequence: _Sequence) -> None:
        """Hand on what comes of a sequence, until its end."""
        from tensorrt_llm.llmapi import RequestError

        try:
            self._ask(sequence)
        except (RequestError, ValueError, TypeError) as error:
            self._fail(sequence, InvalidRequest.__name__, f"engine tensorrt_llm does not take this: {error}")
            return
        except Exception as error:
            self._came.put(error)
            return
        try:
            async for output in sequence.output:
                progress = _scored(sequence, output) if sequence.scored else self._progress(sequence, output)
                if progress is not None:
                    self._came.put(progress)
        except (RequestError, _Ended) as error:
            self._fail(sequence, EngineError.__name__, f"engine tensorrt_llm ended it: {error}")
        except Exception as error:
            self._came.put(error)

    def _ask(self, sequence: _Sequence) -> None:
        salt = {"cache_salt": f"score {next(self._numbers)}"} if sequence.scored and self._salts else {}
        sequence.output = self._llm.generate_async(
            {"prompt_token_ids": sequence.ids}, sequence.asked, streaming=not sequence.scored, **salt
        )

    def _fail(self, sequence: _Sequence, kind: str, text: str) -> None:
        self._came.put(Progress(sequence.key, failure=(kind, text)))

    def _progress(self, sequence: _Sequence, output: Any) -> Progress | None:
        (made,) = output.outputs
        if not sequence.heard:
            sequence.heard = True
            self._queried += len(sequence.ids)
            # 1.0 does not tell
            self._found += int(getattr(output, "cached_tokens", 0) or 0)
        # what a stop cut off again is not of the text
        ids, reason = tuple(made.token_ids[sequence.sent :]), made.finish_reason
        if reason == "stop" and ids and ids[-1] in sequence.ends:
            ids = ids[:-1]
        if reason is not None and reason not in _REASONS:
            raise _Ended(reason)
        told = _log_probs(ids, made.logprobs[sequence.sent :]) if sequence.asked.logprobs else ()
        sequence.sent += len(ids)
        return Progress(sequence.key, ids, told, _REASONS.get(reason)) if ids or reason else None


def _asked(told: Mapping[str, Any], vocabulary: int) -> Any:
    """Return the SamplingParams of a table of parameters; raise InvalidRequest for what it refuses."""
    import numpy as np
    from tensorrt_llm.llmapi import GuidedDecodingParams, SamplingParams

    given = {name: value for name, value in told.items() if name not in ("guide", "bad_words")}
    try:
        if "embedding_bias" in given:
            bias = np.zeros(vocabulary, dtype=np.float32)
            bias[list(given["embedding_bias"])] = list(given["embedding_bias"].values())
            given["embedding_bias"] = bias
        if "guide" in told:
            given["guided_decoding"] = GuidedDecodingParams(**told["guide"])
        if "bad_words" not in told:
            return SamplingParams(**given)
        # the API spells words by itself, as they are at the start of a text alone: here are all spellings
        asked = SamplingParams(**given, bad=[str(ids) for ids in told["bad_words"]])
        asked._bad_word_ids = told["bad_words"]
        return asked
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"engine tensorrt_llm does not take this: {error}") from error


def _log_probs(ids: Sequence[int], found: Sequence[Mapping[int, Any]]) -> tuple[float, ...]:
    if len(found) < len(ids) or any(token not in by_id for token, by_id in zip(ids, found, strict=False)):
        raise _Ended("it did not tell how likely each token was")
    return tuple(by_id[token].logprob for token, by_id in zip(ids, found, strict=False))


def _scored(sequence: _Sequence, output: Any) -> Progress | None:
    """Return how likely each id after the first was: context_logits are [tokens, vocabulary]."""
    if not output.finished:
        return None
    logits, ids = output.context_logits, sequence.ids
    if logits is None or len(logits) != len(ids):
        found = 0 if logits is None else len(logits)
        raise _Ended(f"it gave logits of {found} of the prompt's {len(ids)} tokens")
    values: list[float] = []
    for start in range(0, len(ids) - 1, _ROWS):
        rows = logits[start : min(start + _ROWS, len(ids) - 1)].float().log_softmax(-1)
        values += [float(row[token]) for row, token in zip(rows, ids[start + 1 :], strict=False)]
    return Progress(sequence.key, log_probs=tuple(values), finish_reason="length")


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Let nobody wait any more, and stop the loop."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    loop.stop()


def _end(sequence: _Sequence) -> None:
    if sequence.output is not None:
        sequence.output.abort()
    if sequence.task is not None:
        sequence.task.cancel()


def _raised(came: Progress | BaseException) -> Progress:
    if isinstance(came, BaseException):
        raise came
    return came
