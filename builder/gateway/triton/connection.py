"""One gRPC channel to Triton, which finds it again by itself when it was away."""

from __future__ import annotations

import asyncio
from typing import Any

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # a request may have begun to be computed: whether it is asked again is the client's to say
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
)
SECONDS_TO_CONNECT = 1.5
"""Longer than the wait between two tries to connect: a Triton that has returned is found within it."""


class Connection:
    """The stubs of one Triton; to be made in the event loop that uses it.

    Its calls are those of tritonclient's generated GRPCInferenceServiceStub: requests and responses are
    protobuf's messages, nothing is wrapped.
    """

    def __init__(self, address: str) -> None:
        """`address` is "HOST:PORT" of Triton's gRPC endpoint."""
        import grpc.aio
        from tritonclient.grpc import service_pb2_grpc

        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def connect(self) -> bool:
        """Return whether there is a connection, or can be one."""
        try:
            async with asyncio.timeout(SECONDS_TO_CONNECT):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cancel what runs and let the connection go."""
        await self._channel.close()
