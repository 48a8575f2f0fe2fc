"""The same chat asked of Triton itself, by the same kind of call as the gateway's."""

from __future__ import annotations

import json
import time
from typing import Any

from doors.asking import MODEL


class Triton:
    """A connection to Triton; to be made in the event loop that uses it."""

    def __init__(self, address: str) -> None:
        """`address` is "HOST:PORT" of its gRPC endpoint."""
        from builder.gateway.triton.connection import Connection

        self._connection = Connection(address)

    async def first(self, tokens: int) -> float:
        """Return seconds from the request to the first response; the others are read as well."""
        begun = time.perf_counter()
        call = self._connection.stub.ModelStreamInfer((_request(tokens),))
        first = 0.0
        async for _ in call:
            first = first or time.perf_counter() - begun
        return first

    async def close(self) -> None:
        await self._connection.close()


def _request(tokens: int) -> Any:
    from builder.gateway.triton import asking

    chat = json.dumps({"messages": [{"role": "user", "content": "What is the capital of France?"}]})
    inputs = [
        asking.texts("messages", [chat]),
        asking.integers("max_tokens", [[tokens]]),
        asking.Tensor("stream", "BOOL", (1, 1), b"\1"),
    ]
    return asking.request(MODEL, inputs, ("text_output", "finish_reason"))
