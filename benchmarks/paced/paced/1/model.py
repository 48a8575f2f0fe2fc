"""A model that answers at a pace and takes no processor: what two clients measure of it must agree.

The first token comes after a time that the request's length decides, the others in even steps.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

SECONDS_TO_FIRST = 0.05
SECONDS_A_CHARACTER = 0.0005
SECONDS_A_TOKEN = 0.02
TOKENS = 32
WORD = " time"


class TritonPythonModel:
    """text_input STRING [1], max_tokens INT32 [1] -> one text_output STRING [1] for every token."""

    async def execute(self, requests: list[Any]) -> None:
        """Answer all requests side by side."""
        await asyncio.gather(*(self._answer(request) for request in requests))

    async def _answer(self, request: Any) -> None:
        sender = request.get_response_sender()
        text = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy().item()
        wanted = pb_utils.get_input_tensor_by_name(request, "max_tokens")
        tokens = TOKENS if wanted is None else int(wanted.as_numpy().item())
        loop = asyncio.get_running_loop()
        due = loop.time() + SECONDS_TO_FIRST + SECONDS_A_CHARACTER * len(text)
        for _ in range(tokens):
            await asyncio.sleep(due - loop.time())
            word = pb_utils.Tensor("text_output", np.array([WORD.encode()], dtype=np.object_))
            sender.send(pb_utils.InferenceResponse(output_tensors=[word]))
            due += SECONDS_A_TOKEN
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
