"""What a client may take before its request is there: bytes, seconds, and one of so many connections.

uvicorn bounds none of them: heads grow without an end, and whoever sends a byte now and then stays for ever.
What is refused here never becomes a request, so that it takes no place and is in no account.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from builder.gateway.clients import Bounds
from builder.gateway.protocol import errors
from builder.gateway.protocol.errors import ApiError

LINGER_SECONDS = 2.0
"""In which a client that is refused may go on sending, so that it hears why."""
STALLED_SECONDS = 60
"""After which a client that takes none of its answer is given up."""

_UPGRADE = re.compile(rb"\r\n[Uu]pgrade:")
_LOG = logging.getLogger(__name__)
# what clients do wrong is told them, and no news for who runs the gateway
_LOG.setLevel(logging.ERROR)


# what is waited for; numbers, because every request comes by here
_NOTHING, _HEAD, _BODY = range(3)


class Listener(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _LOG
        self._bounds = bounds
        self._read = _HEAD
        self._head = self._came = 0
        self._timed = _NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self._error: ApiError | None = None
        self._has_ended = False
        self._is_refused = False
        self._cycles: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        _give_up_when_stalled(transport)
        if len(self.connections) > self._bounds.connections:
            self._write(_too_many(self._bounds))
            transport.close()
        else:
            self._wait(_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everything that is being answered here, not only the last of it as uvicorn does."""
        self._stop()
        for cycle in self._under_way():
            _leave(cycle)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the bounds."""
        if self._is_refused:
            return
        if self._read == _NOTHING:
            # empty lines before a request are none of it, and endless ones no request at all
            self._read, self._head = _HEAD, 0
        if self._read == _HEAD and b"pgrade:" in data:
            # nothing is upgraded here, and the parser would take no body of such a request
            data = _UPGRADE.sub(b"\r\nIgnored:", data)
        self._has_ended, self._came = False, len(data)
        super().data_received(data)
        if self._is_refused:
            return
        # behind the end of another request it is not known how much of the data is head: it is not much
        if self._read == _HEAD and not self._has_ended:
            self._head += self._came
        if self._head > self._bounds.head_bytes:
            self._refuse(_too_large(self._bounds))
        else:
            self._wait(self._read)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._read = _HEAD

    def on_headers_complete(self) -> None:
        """Answer a request, unless its head is too large for that."""
        if self._head + self._came > self._bounds.head_bytes < self._size_of_head():
            self._error = _too_large(self._bounds)
            raise ValueError(self._error.message)
        super().on_headers_complete()
        self._cycles = [*self._under_way(), self.cycle] if self._cycles else [self.cycle]
        self._read, self._head = _BODY, 0

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        super().on_message_complete()
        self._read, self._has_ended = _NOTHING, True
        self._stop()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what was found to be too much of it."""
        self._refuse(self._error or ApiError(400, "this is no request of HTTP/1.1"))

    def _wait(self, awaited: int) -> None:
        """See to it that something comes in time; what is waited for already has been since it began."""
        if self._timed == awaited:
            return
        self._stop()
        if awaited != _NOTHING and not self.transport.is_closing():
            self._timed = awaited
            is_body = awaited == _BODY
            # who reads a body says first that it is late
            seconds = self._bounds.body_seconds + LINGER_SECONDS if is_body else self._bounds.head_seconds
            self._timer = self.loop.call_later(seconds, self._expire)

    def _stop(self) -> None:
        self._timed = _NOTHING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        awaited = self._timed
        self._stop()
        if self._under_way():
            self._wait(awaited)
        elif awaited == _HEAD and self._head:
            message = f"the head did not arrive within {self._bounds.head_seconds:g} s"
            self._refuse(ApiError(408, message, kind="timeout_error", code="timeout"))
        else:
            self.transport.close()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _under_way(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error and hear no more; an answer that has begun can only be cut off."""
        self._is_refused = True
        self._stop()
        cycles = self._under_way()
        if any(cycle.response_started for cycle in cycles):
            self.transport.close()
            return
        for cycle in cycles:
            _leave(cycle)
        self._write(error)
        if self.transport.can_write_eof():  # TLS has no end of one side alone
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _write(self, error: ApiError) -> None:
        body = error.body()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        told = [f"{name}: {value}\r\n" for name, value in (headers | error.headers()).items()]
        status = HTTPStatus(error.status)
        self.transport.write(f"HTTP/1.1 {status} {status.phrase}\r\n{''.join(told)}\r\n".encode() + body)


def _leave(cycle: RequestResponseCycle) -> None:
    """Tell who answers a request that its client has gone."""
    cycle.disconnected = True
    cycle.message_event.set()


def _too_many(bounds: Bounds) -> ApiError:
    message = f"{bounds.connections} connections are open, which is all: try again later"
    return ApiError(503, message, kind=errors.SERVER, code="too_many_connections", retry_after=1)


def _too_large(bounds: Bounds) -> ApiError:
    message = f"the head is too large: at most {bounds.head_bytes} bytes are taken"
    return ApiError(431, message, code="too_large")


def _give_up_when_stalled(transport: asyncio.Transport) -> None:
    """Have the system end a connection whose client takes nothing, which it would keep for ever (Linux)."""
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    accepted: Callable[..., None] | None = getattr(transport.get_extra_info("socket"), "setsockopt", None)
    if option is not None and accepted is not None:
        accepted(socket.IPPROTO_TCP, option, int(STALLED_SECONDS * 1000))
