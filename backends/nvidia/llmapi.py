"""Requests and answers of NVIDIA's llmapi model (TensorRT-LLM 1.0 to 1.2) as those of our front."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import InvalidRequest
from backends.front.generation import Chunk

Array = npt.NDArray[Any]

# its inputs -> the front's
INPUTS: Mapping[str, str] = {
    "text_input": "text_input",
    "streaming": "stream",
    "sampling_param_temperature": "temperature",
    "sampling_param_top_k": "top_k",
    "sampling_param_top_p": "top_p",
    "sampling_param_frequency_penalty": "frequency_penalty",
    "sampling_param_presence_penalty": "presence_penalty",
    "sampling_param_max_tokens": "max_tokens",
    "sampling_param_stop": "stop_words",
    "sampling_param_seed": "seed",
    "sampling_param_exclude_input_from_output": "exclude_input_in_output",
    "return_cumulative_logprob": "return_log_probs",
}

MAX_TOKENS = 32
"""What SamplingParams of the library has where a request does not say."""

# what this deployment has nothing for -> the value that asks for nothing
_HARMLESS: Mapping[str, int | bool] = {
    "sampling_param_best_of": 1,
    "sampling_param_return_perf_metrics": False,
    "return_stop_reason": False,
}

_FLAGS: Mapping[str, str] = {
    "finish_reason": "return_finish_reason",
    "cumulative_logprob": "return_cumulative_logprob",
}
"""Outputs that come where they are asked for."""


def tensors(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the front's inputs; raise InvalidRequest for what it has nothing for."""
    for name, harmless in _HARMLESS.items():
        if name in inputs and _one(inputs, name) != harmless:
            raise InvalidRequest(f"this deployment has nothing for {name}: leave it out")
    told = {ours: inputs[theirs] for theirs, ours in INPUTS.items() if theirs in inputs}
    return {"max_tokens": np.array([MAX_TOKENS], dtype=np.int32), **told}


def is_stop(inputs: Mapping[str, Array]) -> bool:
    """Say whether a request is to end the one of the same id."""
    return "stop" in inputs and bool(_one(inputs, "stop"))


def _one(inputs: Mapping[str, Array], name: str) -> Any:
    elements = inputs[name].reshape(-1)
    if elements.size != 1:
        raise InvalidRequest(f"{name} has {elements.size} elements, 1 is expected")
    return elements[0]


class Outputs:
    """The outputs of one answer, as backends.front.outputs.Outputs is for the front's own.

    Args:
        tensor: (name, array) -> a tensor of Triton's.
        names: the outputs that the client wants.
        inputs: its request, which says again which of them it wants.
    """

    def __init__(
        self, tensor: Callable[[str, Array], Any], names: Iterable[str], inputs: Mapping[str, Array]
    ) -> None:
        self._tensor = tensor
        self._names = [name for name in names if _is_asked(name, inputs)]

    def of(self, chunk: Chunk, input_tokens: int, prompt_log_probs: Sequence[float]) -> list[Any]:
        """Return the tensors of a response, [1] each."""
        return [self._tensor(name, _READ[name](chunk)) for name in self._names]


def _is_asked(name: str, inputs: Mapping[str, Array]) -> bool:
    if name not in _READ:
        return False  # of the library's own measures, and refused where they are asked for
    flag = _FLAGS.get(name)
    return flag is None or (flag in inputs and bool(_one(inputs, flag)))


def _text(text: str) -> Array:
    return np.array([text.encode()], dtype=np.object_)


_READ: Mapping[str, Callable[[Chunk], Array]] = {
    "text_output": lambda chunk: _text(chunk.text),
    "finish_reason": lambda chunk: _text(chunk.finish_reason),
    "cumulative_logprob": lambda chunk: np.array([chunk.cumulative], dtype=np.float32),
}
