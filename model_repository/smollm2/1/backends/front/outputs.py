"""Chunks as the tensors of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import Top
from backends.front.generation import Chunk

Array = npt.NDArray[Any]

KEPT, SHORT = 1024, 16
"""Tensors that a Maker keeps, and the characters of a text worth keeping: a token or two."""


def _text(text: str) -> Array:
    return np.array([[text.encode()]], dtype=np.object_)


def _integer(value: int) -> Array:
    return np.array([[value]], dtype=np.int32)


def _integers(values: Sequence[int]) -> Array:
    return np.array(values, dtype=np.int32)[np.newaxis]


def _floats(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float32)[np.newaxis]


def _float(value: float) -> Array:
    return _floats([value])


def _top_ids(tops: Sequence[Top]) -> Array:
    return _table(tops, 0, np.int32)


def _top_log_probs(tops: Sequence[Top]) -> Array:
    return _table(tops, 1, np.float32)


def _table(tops: Sequence[Top], part: int, kind: type[np.generic]) -> Array:
    """Return the ids (part 0) or the log probabilities (part 1), [1, tokens, likeliest]."""
    if not tops:
        return np.empty((1, 0, 0), dtype=kind)
    return np.array([[pair[part] for pair in top] for top in tops], dtype=kind)[np.newaxis]


_Value = Any
_Read = Callable[[Chunk, int, Sequence[float]], _Value]
_Make = Callable[[_Value], Array]

# name -> (what a response says there, that as an array with a batch dimension of 1)
_OUTPUTS: dict[str, tuple[_Read, _Make]] = {
    "text_output": (lambda chunk, tokens, scores: chunk.text, _text),
    "reasoning_output": (lambda chunk, tokens, scores: chunk.reasoning, _text),
    "finish_reason": (lambda chunk, tokens, scores: chunk.finish_reason, _text),
    "output_ids": (lambda chunk, tokens, scores: chunk.ids, _integers),
    "context_ids": (lambda chunk, tokens, scores: chunk.context_ids, _integers),
    "sequence_index": (lambda chunk, tokens, scores: chunk.sequence, _integer),
    "num_input_tokens": (lambda chunk, tokens, scores: tokens, _integer),
    "num_output_tokens": (lambda chunk, tokens, scores: chunk.output_tokens, _integer),
    "cum_log_probs": (lambda chunk, tokens, scores: chunk.cumulative, _float),
    "output_log_probs": (lambda chunk, tokens, scores: chunk.log_probs, _floats),
    "output_top_ids": (lambda chunk, tokens, scores: chunk.tops, _top_ids),
    "output_top_log_probs": (lambda chunk, tokens, scores: chunk.tops, _top_log_probs),
    "prompt_log_probs": (lambda chunk, tokens, scores: scores, _floats),
}


class Maker:
    """Tensors of Triton's for what responses say; what many say alike is made once.

    A tensor is a call into Triton's stub, a copy into shared memory, and a string's bytes packed one by one.
    For one thread at a time: the copy is made when a tensor is first sent, and two would both make it.
    """

    def __init__(self, tensor: Callable[[str, Array], Any]) -> None:
        """`tensor` is (name, array) -> a tensor of Triton's."""
        self._tensor = tensor
        self._kept = lru_cache(KEPT)(self._made)

    def make(self, name: str, value: _Value) -> Any:
        """Return the tensor of an output that says `value`."""
        return self._kept(name, value) if _is_short(value) else self._made(name, value)

    def _made(self, name: str, value: _Value) -> Any:
        return self._tensor(name, _OUTPUTS[name][1](value))


def _is_short(value: _Value) -> bool:
    return not value or isinstance(value, int) or (isinstance(value, str) and len(value) <= SHORT)


class Outputs:
    """The outputs of one answer, response by response.

    Args:
        maker: of the thread that sends the responses.
        names: the outputs asked for; no others are made.
    """

    def __init__(self, maker: Maker, names: Iterable[str]) -> None:
        self._maker = maker
        self._names = tuple(names)
        self._last: dict[str, tuple[_Value, Any]] = {}

    def of(self, chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float]) -> list[Any]:
        """Return the tensors of a response, each with a batch dimension of 1."""
        return [self._one(name, chunk, input_tokens, prompt_log_probs) for name in self._names]

    def _one(self, name: str, chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float]) -> Any:
        value = _OUTPUTS[name][0](chunk, input_tokens, prompt_log_probs)
        known = self._last.get(name)
        if known is not None and known[0] == value:
            return known[1]
        tensor = self._maker.make(name, value)
        self._last[name] = (value, tensor)
        return tensor
