"""What leads to Triton and finds it again when it was away: a channel of gRPC, and a wire for streams."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from builder.gateway.triton import failures
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.wire import Wire

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
    """The stub and the wire of one Triton; to be made in the event loop that uses it.

    The stub is tritonclient's generated GRPCInferenceServiceStub: requests and responses are protobuf's
    messages, nothing is wrapped.
    """

    def __init__(self, address: str) -> None:
        """`address` is "HOST:PORT" of Triton's gRPC endpoint."""
        import grpc.aio
        from tritonclient.grpc import service_pb2_grpc

        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.wire: Wire | None = None
        """The last one; `open` gives one that is open."""
        self._opening: asyncio.Task[Wire] | None = None

    async def open(self) -> Wire:
        """Return a wire that takes calls. Raises Failure (UNAVAILABLE) where Triton cannot be reached."""
        if self.wire is None or not self.wire.is_open:
            if self._opening is None:
                self._opening = asyncio.create_task(self._new_wire())
                self._opening.add_done_callback(self._opened)
            # one try for all who wait, which goes on when one of them gives up
            self.wire = await asyncio.shield(self._opening)
        return self.wire

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # it may be that nobody waits for it any more

    async def _new_wire(self) -> Wire:
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS_TO_CONNECT):
                transport, wire = await loop.create_connection(
                    lambda: Wire(self.address), host.strip("[]"), int(port)
                )
        except OSError as error:  # TimeoutError is one
            raise Failure(Kind.UNAVAILABLE, failures.LOST) from error
        # whoever vanishes without a word is noticed
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return wire

    async def connect(self) -> bool:
        """Return whether there is a connection, or can be one."""
        try:
            async with asyncio.timeout(SECONDS_TO_CONNECT):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cancel what runs and let the connections go."""
        if self.wire is not None:
            self.wire.close()
        await self._channel.close()
