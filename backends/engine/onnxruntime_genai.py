"""onnxruntime-genai: one Generator per sequence, one token of each in turn.

Tokens are chosen here from the library's logits, so that every sampling parameter means the same on
every engine; it costs no more than letting the library choose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine.guided import Guided
from backends.engine.protocol import Sampling, Step
from backends.engine.sampling import Sampler, log_probability
from backends.engine.scheduled import Scheduled
from backends.engine.scheduler import Scheduler

PROMPT_TOKENS_A_TURN = 64
"""A long prompt is read in pieces, so that other sequences keep their pace and a cancel is heard: the
library holds the interpreter's lock all the while. Larger pieces were no faster."""

SHARED_CACHE_TOKENS = 1024
"""Up to here the whole KV cache is allocated at once, which steps faster. Beyond, it grows: a cache
for 8192 tokens takes a second and hundreds of megabytes to allocate, used or not."""


def create(settings: Mapping[str, Any], folder: Path) -> OnnxruntimeGenai:
    """Load the artifact at `folder`/settings["model"] on the provider of engine_arguments."""
    import onnxruntime_genai

    arguments = settings["engine_arguments"]
    config = onnxruntime_genai.Config(str(folder / settings["model"]))
    config.clear_providers()
    if arguments["provider"] != "cpu":
        config.append_provider(arguments["provider"])
    if arguments["threads"]:
        threads = {"intra_op_num_threads": arguments["threads"]}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
    return OnnxruntimeGenai(onnxruntime_genai, onnxruntime_genai.Model(config), settings, folder)


class OnnxruntimeGenai(Scheduled):
    """The engine of `--target onnx` on a GPU; see Engine."""

    name = "onnxruntime_genai"

    def __init__(self, library: Any, model: Any, settings: Mapping[str, Any], folder: Path) -> None:
        self._library = library
        self._model = model
        scheduler = Scheduler(settings["max_active"], settings["max_waiting"])
        super().__init__(scheduler, settings, folder)

    def answering(self, ids: Sequence[int], sampling: Sampling, guided: Guided | None) -> _Sequence:
        """Return the runner of one answer."""
        generator = self._generator(len(ids) + sampling.max_tokens)
        return _Sequence(generator, ids, Sampler(sampling, ids, guided))

    def scoring(self, ids: Sequence[int], found: list[float]) -> _Scoring:
        """Return the runner that scores a prompt."""
        return _Scoring(self._generator(len(ids) + 1), ids, found)

    def free(self) -> None:
        """Free the model."""
        self._model = None

    def _generator(self, tokens: int) -> Any:
        parameters = self._library.GeneratorParams(self._model)
        shared = tokens <= SHARED_CACHE_TOKENS
        parameters.set_search_options(max_length=tokens, past_present_share_buffer=shared)
        return self._library.Generator(self._model, parameters)


class _Sequence:
    """A Runner that generates: it feeds what is pending, then chooses from the logits."""

    def __init__(self, generator: Any, ids: Sequence[int], sampler: Sampler) -> None:
        self._generator = generator
        self._sampler = sampler
        self._pending = list(ids)

    def close(self) -> None:
        self._generator = None

    def turn(self) -> Step | None:
        _feed(self._generator, self._pending)
        if self._pending:
            return None
        logits = np.asarray(self._generator.get_logits(), dtype=np.float32).reshape(-1)
        step = self._sampler.step(logits)
        self._pending = list(step.ids)
        return step


class _Scoring:
    """A Runner that reads the prompt and keeps how likely each of its tokens was."""

    def __init__(self, generator: Any, ids: Sequence[int], found: list[float]) -> None:
        self._generator = generator
        self._ids = list(ids)
        self._pending = list(ids)
        self._found = found

    def close(self) -> None:
        self._generator = None

    def turn(self) -> Step | None:
        start = len(self._ids) - len(self._pending)
        _feed(self._generator, self._pending)
        rows = np.asarray(self._generator.get_output("logits"), dtype=np.float32)[0]
        following = self._ids[start + 1 : start + 1 + len(rows)]
        self._found += [log_probability(row, token) for row, token in zip(rows, following, strict=False)]
        return None if self._pending else Step((), finish_reason="stop")


def _feed(generator: Any, pending: list[int]) -> None:
    piece = pending[:PROMPT_TOKENS_A_TURN]
    generator.append_tokens(np.array([piece], dtype=np.int32))
    del pending[: len(piece)]
