"""Chunks as the tensors of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import Top
from backends.front.generation import Chunk

Array = npt.NDArray[Any]


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


class Outputs:
    """The outputs of one answer, response by response.

    What most responses say alike (no reasoning, no end yet, no log probabilities) is not made again: a tensor
    of Triton's is a call into its stub, a copy into shared memory, and a string's bytes packed one by one.

    Args:
        tensor: (name, array) -> a tensor of Triton's.
        names: the outputs asked for; no others are made.
        made: name -> (what it says, its tensor), of an answer before.
    """

    def __init__(
        self,
        tensor: Callable[[str, Array], Any],
        names: Iterable[str],
        made: Mapping[str, tuple[_Value, Any]] = MappingProxyType({}),
    ) -> None:
        self._tensor = tensor
        self._names = tuple(names)
        self.made = dict(made)

    def of(self, chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float]) -> list[Any]:
        """Return the tensors of a response, each with a batch dimension of 1."""
        return [self._one(name, chunk, input_tokens, prompt_log_probs) for name in self._names]

    def _one(self, name: str, chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float]) -> Any:
        read, make = _OUTPUTS[name]
        value = read(chunk, input_tokens, prompt_log_probs)
        known = self.made.get(name)
        if known is not None and known[0] == value:
            return known[1]
        tensor = self._tensor(name, make(value))
        self.made[name] = (value, tensor)
        return tensor


def usual(tensor: Callable[[str, Array], Any]) -> dict[str, tuple[_Value, Any]]:
    """Return what responses usually say, for `Outputs` of all answers."""
    nothing = Chunk("", "", (), (), (), 0.0, 0, sequence=0, finish_reason="")
    outputs = Outputs(tensor, _OUTPUTS)
    outputs.of(nothing, 0, ())
    return outputs.made
