"""A chunk as the arrays of one response."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backends.front.generation import Chunk


def arrays(chunk: Chunk, input_tokens: int, prompt_log_probs: list[float]) -> dict[str, npt.NDArray[Any]]:
    """Return every output of the contract by name, each with a batch dimension of 1."""
    return {
        "text_output": _text(chunk.text),
        "reasoning_output": _text(chunk.reasoning),
        "finish_reason": _text(chunk.finish_reason),
        "output_ids": np.array([chunk.ids], dtype=np.int32).reshape(1, -1),
        "context_ids": np.array([chunk.context_ids], dtype=np.int32).reshape(1, -1),
        "sequence_index": np.array([[chunk.sequence]], dtype=np.int32),
        "num_input_tokens": np.array([[input_tokens]], dtype=np.int32),
        "num_output_tokens": np.array([[chunk.output_tokens]], dtype=np.int32),
        "cum_log_probs": np.array([[chunk.cumulative]], dtype=np.float32),
        "output_log_probs": np.array([chunk.log_probs], dtype=np.float32).reshape(1, -1),
        "prompt_log_probs": np.array([prompt_log_probs], dtype=np.float32).reshape(1, -1),
    }


def _text(text: str) -> npt.NDArray[Any]:
    return np.array([[text.encode()]], dtype=np.object_)
