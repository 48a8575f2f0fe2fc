"""A chunk as the arrays of one response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def _table(tops: Sequence[Top], part: int, kind: type[np.generic]) -> Array:
    """Return the ids (part 0) or the log probabilities (part 1), [1, tokens, likeliest]."""
    if not tops:
        return np.empty((1, 0, 0), dtype=kind)
    return np.array([[pair[part] for pair in top] for top in tops], dtype=kind)[np.newaxis]


_OUTPUTS: dict[str, Callable[[Chunk, int, Sequence[float]], Array]] = {
    "text_output": lambda chunk, tokens, scores: _text(chunk.text),
    "reasoning_output": lambda chunk, tokens, scores: _text(chunk.reasoning),
    "finish_reason": lambda chunk, tokens, scores: _text(chunk.finish_reason),
    "output_ids": lambda chunk, tokens, scores: _integers(chunk.ids),
    "context_ids": lambda chunk, tokens, scores: _integers(chunk.context_ids),
    "sequence_index": lambda chunk, tokens, scores: _integer(chunk.sequence),
    "num_input_tokens": lambda chunk, tokens, scores: _integer(tokens),
    "num_output_tokens": lambda chunk, tokens, scores: _integer(chunk.output_tokens),
    "cum_log_probs": lambda chunk, tokens, scores: _floats([chunk.cumulative]),
    "output_log_probs": lambda chunk, tokens, scores: _floats(chunk.log_probs),
    "output_top_ids": lambda chunk, tokens, scores: _table(chunk.tops, 0, np.int32),
    "output_top_log_probs": lambda chunk, tokens, scores: _table(chunk.tops, 1, np.float32),
    "prompt_log_probs": lambda chunk, tokens, scores: _floats(scores),
}


def arrays(
    chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float], names: Iterable[str]
) -> dict[str, Array]:
    """Return the outputs asked for by name, each with a batch dimension of 1; no others are made."""
    return {name: _OUTPUTS[name](chunk, input_tokens, prompt_log_probs) for name in names}
