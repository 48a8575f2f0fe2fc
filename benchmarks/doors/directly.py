"""The same chat asked of Triton itself, by the same kind of call as the gateway's."""

from __future__ import annotations

import json
import time
from typing import Any

from doors.asking import MODEL, Heard


class Triton:
    """A connection to Triton; to be made in the event loop that uses it."""

    def __init__(self, address: str) -> None:
        """`address` is "HOST:PORT" of its gRPC endpoint."""
        from builder.gateway.triton.connection import Connection

        self._connection = Connection(address)

    async def one(self, tokens: int, heard: Heard) -> None:
        """Ask for one answer and note it."""
        begun, times = time.perf_counter(), []
        async for _ in self._connection.stub.ModelStreamInfer((_request(tokens),)):
            times.append(time.perf_counter() - begun)
        heard.tokens += tokens
        heard.firsts.append(times[0])
        heard.betweens.append((times[-1] - times[0]) / (tokens - 1))

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
