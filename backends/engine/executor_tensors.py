"""What a request asks for as the tensors of backend tensorrtllm, and its answers as steps.

The backend reads them in triton_backend/inflight_batcher_llm/src/utils.cc (TensorRT-LLM 1.2). It has no min_p
and no likeliest tokens; its presence and frequency penalties count the prompt's tokens as if they had been
generated, and cannot be told otherwise.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import EngineError, InvalidRequest, Sampling, Step
from backends.engine.triton_model import Arrays, texts

REFUSED = frozenset({"presence_penalty", "frequency_penalty"})
MOST_TOP_K = 1024
"""Of its kernels (samplingTopKKernels.h); more would be cut to it."""

ANSWER = ("output_ids", "sequence_length")
"""The backend fails on requests that do not ask for both."""

_ROWS = 64
"""How many rows of a prompt's logits are looked at at once: of a large vocabulary all are gigabytes."""

_ADAPTER = {"lora_weights": "model.lora_weights.npy", "lora_config": "model.lora_config.npy"}
"""Tensor -> its file in an adapter's folder, as TensorRT-LLM's hf_lora_convert.py names them."""

_RENAMED = {"min_tokens": "min_length", "seed": "random_seed"}
"""Newest name -> that before 0.20."""


def _one(kind: type[np.generic]) -> Callable[[Any], npt.NDArray[Any]]:
    return lambda value: np.array([[value]], dtype=kind)


_integer, _wide, _float, _flag = _one(np.int32), _one(np.uint64), _one(np.float32), _one(np.bool_)

_TENSORS: Mapping[str, tuple[Callable[[Sampling], Any], Callable[[Any], npt.NDArray[Any]]]] = {
    "request_output_len": (lambda asked: asked.max_tokens, _integer),
    "end_id": (lambda asked: min(asked.end_ids, default=None), _integer),
    "stop_words_list": (
        lambda asked: [(one,) for one in sorted(asked.end_ids)[1:]] or None,
        lambda it: words(it),
    ),
    "bad_words_list": (lambda asked: asked.bad_ids or None, lambda it: words(it)),
    "runtime_top_k": (lambda asked: 1 if _is_greedy(asked) else asked.top_k, _integer),
    # without it the backend is greedy, unless there is a top_k
    "runtime_top_p": (lambda asked: None if _is_greedy(asked) else asked.top_p, _float),
    "temperature": (lambda asked: None if _is_greedy(asked) else asked.temperature, _float),
    # without one, every request has the same
    "seed": (lambda asked: None if _is_greedy(asked) else _seed(asked), _wide),
    "repetition_penalty": (lambda asked: _or_none(asked.repetition_penalty, 1.0), _float),
    "min_tokens": (lambda asked: asked.min_tokens or None, _integer),
    "return_log_probs": (lambda asked: asked.log_probs or None, _flag),
    "guided_decoding_guide_type": (lambda asked: asked.guide and asked.guide.kind, texts),
    "guided_decoding_guide": (lambda asked: (asked.guide and asked.guide.text) or None, texts),
}
"""Tensor -> how to read it off a request, None for what is not sent, and how to write it."""


def asked(
    ids: Sequence[int], sampling: Sampling, *, version: str, vocabulary: int
) -> dict[str, npt.NDArray[Any]]:
    """Return the input tensors of a request, each with a batch dimension of 1.

    Args:
        version: TensorRT-LLM's, which decides two names.
        vocabulary: how many ids the engine knows, the length of its bias.

    Raises InvalidRequest for more than the kernels take.
    """
    if not _is_greedy(sampling) and sampling.top_k > MOST_TOP_K:
        raise InvalidRequest(f"top_k is {sampling.top_k}, this engine takes at most {MOST_TOP_K}")
    told = {name: (read(sampling), write) for name, (read, write) in _TENSORS.items()}
    found = {name: write(value) for name, (value, write) in told.items() if value is not None}
    if sampling.logit_bias:
        bias = np.zeros((1, vocabulary), dtype=np.float32)
        bias[0, list(sampling.logit_bias)] = list(sampling.logit_bias.values())
        found["embedding_bias"] = bias
    found |= {
        "input_ids": np.array([ids], dtype=np.int32),
        "input_lengths": _integer(len(ids)),
        "streaming": _flag(True),
        "exclude_input_in_output": _flag(True),
    }
    return {_name(name, version): array for name, array in found.items()}


def scoring(ids: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Return the input tensors of a request that wants the prompt's logits."""
    return {
        "input_ids": np.array([ids], dtype=np.int32),
        "input_lengths": _integer(len(ids)),
        "request_output_len": _integer(1),
        "runtime_top_k": _integer(1),
        "return_context_logits": _flag(True),
        "exclude_input_in_output": _flag(True),
    }


def stopping() -> dict[str, npt.NDArray[Any]]:
    """Return the input tensors of a request that ends the one of the same id."""
    return {"input_lengths": _integer(1), "request_output_len": _integer(1), "stop": _flag(True)}


def adapted(task: int, weights: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors that name an adapter, with its `weights` where the engine has not got them."""
    return {"lora_task_id": _wide(task), **weights}


def adapter(folder: Path) -> Arrays:
    """Return an adapter's own tensors, each with a batch dimension of 1, as a build has written them.

    lora_weights is [1, modules of layers, width] in the engine's 16 bits, lora_config int32 [1, the same, 3].
    """
    return {tensor: np.load(folder / file) for tensor, file in _ADAPTER.items()}


def task(folder: Path) -> int:
    """Return the number of an adapter, by its content: the engine keeps one by its number, whoever asks."""
    digest = hashlib.sha256()
    for file in _ADAPTER.values():
        digest.update((folder / file).read_bytes())
    # of 63 bits: the executor reads it as a signed number too
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def words(ids: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Return words as int32 [1, 2, n]: their ids one after another, and where each ends, filled up by -1."""
    row = [token for word in ids for token in word]
    ends = np.cumsum([len(word) for word in ids]).tolist()
    return np.array([[row, ends + [-1] * (len(row) - len(ends))]], dtype=np.int32)


class Reader:
    """One sequence's answers as steps.

    The backend says of its last answer only that it is the last. A text ended by itself ("stop") where an id
    of `end_ids` came last, which is then no part of it, or where fewer than `max_tokens` ids came: the engine
    does not send its `end_id`, and sends those that are stop words. Otherwise it ended for its "length".
    """

    def __init__(self, sampling: Sampling) -> None:
        self._asked = sampling
        self._made = 0
        self._stopped = False

    def read(self, answer: Arrays) -> Step:
        """Return what an answer adds: output_ids int32 [1, 1, n] are the new ids."""
        size = int(answer["sequence_length"].reshape(-1)[0])
        ids = tuple(answer["output_ids"].reshape(-1)[:size].tolist())
        self._made += len(ids)
        told = self._log_probs(answer, len(ids))
        if ids and ids[-1] in self._asked.end_ids:
            ids, told, self._stopped = ids[:-1], told[: len(ids) - 1], True
        over = self._stopped or self._made >= self._asked.max_tokens
        return Step(ids, told, self.reason() if over else None)

    def reason(self) -> str:
        """Return why a sequence of which nothing more comes has ended."""
        return "stop" if self._stopped or self._made < self._asked.max_tokens else "length"

    def _log_probs(self, answer: Arrays, count: int) -> tuple[float, ...]:
        if not self._asked.log_probs or not count:
            return ()
        found = answer.get("output_log_probs", np.empty(0)).reshape(-1)
        # those of the whole sequence, or of the new ids alone
        if len(found) >= self._made:
            found = found[: self._made]
        if len(found) < count:
            raise EngineError(f"the engine told the log probabilities of {len(found)} of {count} tokens")
        return tuple(float(value) for value in found[-count:])


def scores(answer: Arrays, ids: Sequence[int]) -> list[float]:
    """Return log p(ids[i] | ids[:i]) for i >= 1 of context_logits [1, tokens, vocabulary]."""
    logits = answer.get("context_logits", np.empty((1, 0, 0), dtype=np.float32))[0]
    if len(logits) != len(ids):
        raise EngineError(f"the engine gave logits of {len(logits)} of the prompt's {len(ids)} tokens")
    values: list[float] = []
    for start in range(0, len(ids) - 1, _ROWS):
        rows = logits[start : min(start + _ROWS, len(ids) - 1)].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        totals = np.log(np.exp(rows).sum(axis=1))
        chosen = rows[np.arange(len(rows)), list(ids[start + 1 : start + 1 + len(rows)])]
        values += (chosen - totals).tolist()
    return values


def refused(guided: bool) -> Collection[str]:
    """Return the front's inputs whose meaning the engine would change, or which it would ignore."""
    return REFUSED if guided else REFUSED | {"guided_decoding_guide_type"}


def _name(tensor: str, version: str) -> str:
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return _RENAMED.get(tensor, tensor) if (major, minor) < (0, 20) else tensor


def _is_greedy(asked: Sampling) -> bool:
    return asked.temperature == 0.0 or asked.top_k == 1


def _seed(asked: Sampling) -> int:
    return secrets.randbits(63) if asked.seed is None else asked.seed


def _or_none(value: float, harmless: float) -> float | None:
    return None if value == harmless else value
