"""A front without an engine: it answers any chat with as many words as are asked for, at once.

What is measured before it is the door's own work. It speaks as the front of a text generation does, in
several instances: one alone waits for Triton after each word, and is slower than a door.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

TOKENS = 64
WORD = " tok"


class TritonPythonModel:
    """max_tokens INT32 [1, 1] -> so many responses, of one word each."""

    def initialize(self, args: dict[str, str]) -> None:
        self._word = _text("text_output", WORD)
        self._on = _text("finish_reason", "")
        self._end = _text("finish_reason", "length")

    async def execute(self, requests: list[Any]) -> None:
        """Answer all requests side by side, a word each in turn."""
        await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request: Any) -> None:
        sender = request.get_response_sender()
        wanted = pb_utils.get_input_tensor_by_name(request, "max_tokens")
        tokens = TOKENS if wanted is None else int(wanted.as_numpy().item())
        for place in range(1, tokens + 1):
            if request.is_cancelled():
                break
            reason = self._end if place == tokens else self._on
            counts = [_number("num_input_tokens", 1), _number("num_output_tokens", place)]
            sender.send(pb_utils.InferenceResponse(output_tensors=[self._word, reason, *counts]))
            await asyncio.sleep(0)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _text(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([[text.encode()]], dtype=np.object_))


def _number(name: str, value: int) -> Any:
    return pb_utils.Tensor(name, np.array([[value]], dtype=np.int32))
