"""As much of TensorRT-LLM's LLM API as is used, with its signatures (1.2: llmapi/llm.py, executor/result.py).

The library itself needs a GPU and NVIDIA's package index.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Answer = tuple[Sequence[int], str | None] | tuple[Sequence[int], str | None, Sequence[float]] | Exception
HANG: Answer = ((), "hang")


class RequestError(RuntimeError):
    """An error of one request."""


@dataclass(slots=True, kw_only=True)
class GuidedDecodingParams:
    json: str | None = None
    regex: str | None = None
    grammar: str | None = None
    json_object: bool = False
    structural_tag: str | None = None


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    """The fields that are told; as the library's own, it refuses a negative temperature."""

    end_id: int | None = None
    max_tokens: int = 32
    bad: str | list[str] | None = None
    _bad_word_ids: list[list[int]] | None = field(default=None, init=False)
    stop_token_ids: list[int] | None = None
    embedding_bias: Any = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    prompt_ignore_length: int | None = None
    logprobs: int | None = None
    return_context_logits: bool = False
    return_generation_logits: bool = False
    guided_decoding: GuidedDecodingParams | None = None
    ignore_eos: bool = False
    detokenize: bool = True

    def __post_init__(self) -> None:
        if self.temperature is not None and self.temperature < 0:
            raise ValueError(f"require temperature >= 0, got temperature={self.temperature}")


class Logits:
    """As much of a torch.Tensor [tokens, vocabulary] as is used."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Logits:
        return Logits(self.values[rows])

    def __iter__(self) -> Any:
        return iter(self.values)

    def float(self) -> Logits:
        return Logits(self.values.astype(np.float32))

    def cpu(self) -> Logits:
        return self

    def numpy(self) -> npt.NDArray[Any]:
        return self.values

    def log_softmax(self, axis: int) -> Logits:
        return Logits(self.values - np.log(np.exp(self.values).sum(axis=axis, keepdims=True)))


class RequestOutput:
    """A future: it is its own iterator, and each answer adds to its one output."""

    def __init__(self, answers: Sequence[Answer], asked: SamplingParams) -> None:
        self._answers = list(answers)
        self._asked = asked
        made = SimpleNamespace(token_ids=[], logprobs=[], finish_reason=None, generation_logits=None)
        self.outputs = [made]
        self.context_logits: Logits | None = None
        self.cached_tokens = 0
        self.finished = self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer == HANG:
            await asyncio.Event().wait()
        ids, reason, *log_probs = answer
        (made,) = self.outputs
        made.token_ids = [*made.token_ids, *ids]
        made.finish_reason, self.finished = reason, reason is not None
        if self._asked.logprobs:
            made.logprobs += [
                {token: SimpleNamespace(logprob=value), -1: SimpleNamespace(logprob=-0.01)}
                for token, value in zip(ids, log_probs[0] if log_probs else (), strict=False)
            ]
        await asyncio.sleep(0)
        return self


class LLM:
    """`answers` are those to a prompt by its first id; `logits` what a score finds."""

    def __init__(self, model: str = "", tokenizer: Any = None, **kwargs: Any) -> None:
        self.model, self.tokenizer, self.told = model, tokenizer, kwargs
        self.answers: dict[int, list[Answer]] = {}
        self.logits: Logits | None = None
        self.cached = 0
        self.asked: list[SimpleNamespace] = []
        self.healthy, self.ended = True, False

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        streaming: bool = False,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        asyncio.get_running_loop()  # without one its answers could not be awaited
        ids = inputs["prompt_token_ids"]
        if len(ids) > 8:
            raise ValueError(f"The sum of prompt length ({len(ids)}) should not exceed max_num_tokens (8)")
        assert sampling_params is not None
        output = RequestOutput(self.answers[ids[0]], sampling_params)
        output.cached_tokens = self.cached
        output.context_logits = self.logits if sampling_params.return_context_logits else None
        self.asked.append(
            SimpleNamespace(
                ids=ids, params=sampling_params, output=output, streaming=streaming, salt=cache_salt
            )
        )
        return output

    def generate(
        self, inputs: list[Any], sampling_params: SamplingParams | None = None, use_tqdm: bool = True
    ) -> list[RequestOutput]:
        assert sampling_params is not None and not use_tqdm
        outputs = []
        for one in inputs:
            output = RequestOutput([], sampling_params)
            (made,) = output.outputs
            made.token_ids = [0]
            made.generation_logits = self.logits if sampling_params.return_generation_logits else None
            self.asked.append(SimpleNamespace(ids=list(one["prompt_token_ids"]), params=sampling_params))
            outputs.append(output)
        return outputs

    def _check_health(self) -> bool:
        return self.healthy

    def shutdown(self) -> None:
        self.ended = True


def install(monkeypatch: pytest.MonkeyPatch, version: str = "1.2.1", known: Sequence[str] = ()) -> ModuleType:
    """Let `import tensorrt_llm` find the stand-in; `known` are the fields of TorchLlmArgs."""
    library, api = ModuleType("tensorrt_llm"), ModuleType("tensorrt_llm.llmapi")
    library.__version__ = version  # type: ignore[attr-defined]
    for offered in (LLM, SamplingParams, GuidedDecodingParams, RequestError):
        setattr(api, offered.__name__, offered)
    api.TorchLlmArgs = SimpleNamespace(model_fields=dict.fromkeys(known))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_llm", library)
    monkeypatch.setitem(sys.modules, "tensorrt_llm.llmapi", api)
    return api
