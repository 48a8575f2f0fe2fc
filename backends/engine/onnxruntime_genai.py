"""onnxruntime-genai as an engine: one generator per request, one token per turn.

Its CPU build has no batched decoding with admission, so requests take turns. The token is chosen here
rather than in the library: it costs the same, and every sampling parameter, log probability and stop
can be honoured exactly.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.coalescing import merge
from backends.engine.mailbox import Mailbox
from backends.engine.protocol import Health, InvalidRequest, Sampling, Step
from backends.engine.sampling import Sampler, log_probs
from backends.engine.turns import Task, TurnTaker

# Prefill of a long prompt is cut so that its neighbours keep their pace and a cancel is seen soon.
_PREFILL_CHUNK = 128

# A shared KV buffer is allocated for the whole length at once (1 s and 400 MB at 8192 tokens of a 135M
# model); a growing one costs nothing up front and a tenth of the speed.
_SHARED_BUFFER_LIMIT = 1024


def create(settings: Mapping[str, Any], folder: Path) -> OnnxRuntimeGenAI:
    """Load the artifact `settings["model"]` under `folder`."""
    import onnxruntime_genai

    arguments = settings.get("engine_arguments") or {}
    config = onnxruntime_genai.Config(str(folder / settings["model"]))
    threads = int(arguments.get("threads") or 0)
    if threads:
        options = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
    provider = arguments.get("provider", "cpu")
    if provider != "cpu":
        config.clear_providers()
        config.append_provider(provider)
    return OnnxRuntimeGenAI(onnxruntime_genai, onnxruntime_genai.Model(config), settings)


class OnnxRuntimeGenAI:
    """The engine; `settings` gives context_length, max_active and max_waiting."""

    name = "onnxruntime_genai"
    unsupported = frozenset(
        {"beam_width", "length_penalty", "top_logprobs", "guided_decoding_guide_type", "guided_decoding_guide"}
    )

    def __init__(self, library: Any, model: Any, settings: Mapping[str, Any]) -> None:
        self._library = library
        self._model = model
        self._context = int(settings["context_length"])
        self._turns = TurnTaker(int(settings["max_active"]), int(settings["max_waiting"]))
        self._score_numbers = count()
        self.abort = self._turns.abort
        self.health = self._turns.health

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        """Yield steps until one carries a finish reason; steps that piled up come as one."""
        self._check_length(len(ids), sampling.max_tokens)
        task = _Generation(request, ids, sampling, self._new_generator, Mailbox())
        self._turns.admit(task)
        try:
            while True:
                step = merge(await task.mail.take())
                yield step
                if step.finish_reason:
                    return
        finally:
            task.gone = True

    async def score(self, ids: Sequence[int]) -> list[float]:
        """Return log p(ids[i] | ids[:i]) for i >= 1; it takes a slot like any request."""
        self._check_length(len(ids), 0)
        task = _Scoring(f"score {next(self._score_numbers)}", ids, self._new_generator, Mailbox())
        self._turns.admit(task)
        try:
            return list(merge(await task.mail.take()).log_probs)
        finally:
            task.gone = True

    def close(self) -> None:
        """Refuse new requests, finish those in flight, free the model."""
        self._turns.close()
        self._model = None

    def _check_length(self, prompt: int, generated: int) -> None:
        if prompt < 1:
            raise InvalidRequest("the prompt has no tokens")
        if prompt + generated > self._context:
            raise InvalidRequest(
                f"prompt has {prompt} tokens and {generated} more are asked for, "
                f"the context holds {self._context}"
            )

    def _new_generator(self, length: int) -> Any:
        parameters = self._library.GeneratorParams(self._model)
        shared = length <= _SHARED_BUFFER_LIMIT
        parameters.set_search_options(max_length=length, past_present_share_buffer=shared)
        return self._library.Generator(self._model, parameters)


class _Prompt:
    """A prompt being read by a generator of its own, a chunk at a time."""

    def __init__(self, ids: Sequence[int], length: int, new_generator: Callable[[int], Any]) -> None:
        self.ids = np.asarray(ids, dtype=np.int32)
        self.position = 0
        self.generator: Any = None
        self._length = length
        self._new_generator = new_generator

    @property
    def finished(self) -> bool:
        return self.position >= len(self.ids)

    def read(self) -> None:
        """Feed the next chunk; the first call makes the generator, so that waiting costs no memory."""
        if self.generator is None:
            self.generator = self._new_generator(self._length)
        chunk = self.ids[self.position : self.position + _PREFILL_CHUNK]
        self.generator.append_tokens(chunk)
        self.position += len(chunk)


class _Generation(Task):
    def __init__(
        self,
        name: str,
        ids: Sequence[int],
        sampling: Sampling,
        new_generator: Callable[[int], Any],
        mail: Mailbox,
    ) -> None:
        super().__init__(name, mail, sampling.deadline)
        self._prompt = _Prompt(ids, len(ids) + sampling.max_tokens, new_generator)
        self._sampling = sampling
        self._sampler = Sampler(sampling, ids)
        self._generated: list[int] = []

    def advance(self) -> tuple[int, bool]:
        if self._prompt.finished:
            self._prompt.generator.append_tokens(np.array(self._generated[-1:], dtype=np.int32))
        else:
            self._prompt.read()
            if not self._prompt.finished:
                return 0, False
        logits = self._prompt.generator.get_logits().reshape(-1)
        token, log_prob = self._sampler.choose(logits)
        if token in self._sampling.end_ids:
            self.mail.put(Step((), finish_reason="stop"))
            return 0, True
        self._generated.append(token)
        done = len(self._generated) >= self._sampling.max_tokens
        scores = () if log_prob is None else (log_prob,)
        self.mail.put(Step((token,), scores, "length" if done else None))
        return 1, done

    def free(self) -> None:
        self._prompt.generator = None


class _Scoring(Task):
    def __init__(
        self, name: str, ids: Sequence[int], new_generator: Callable[[int], Any], mail: Mailbox
    ) -> None:
        super().__init__(name, mail)
        self._prompt = _Prompt(ids, len(ids), new_generator)
        self._scores: list[float] = []

    def advance(self) -> tuple[int, bool]:
        start = self._prompt.position
        self._prompt.read()
        targets = self._prompt.ids[start + 1 : self._prompt.position + 1].tolist()
        logits = np.asarray(self._prompt.generator.get_output("logits"), dtype=np.float32)[0]
        self._scores += log_probs(logits[: len(targets)], targets)
        if self._prompt.finished:
            self.mail.put(Step((), tuple(self._scores), "stop"))
        return 0, self._prompt.finished

    def free(self) -> None:
        self._prompt.generator = None
