"""How many requests are answered at once, and what it takes to become one of them: a body, sent in time.

Who is still sending takes no place from those who have asked; what is held of such bodies is bounded too.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from builder.gateway.protocol.errors import ApiError, overloaded
from builder.gateway.protocol.sse import error_response


class Bounded:
    """An ASGI application that lets so many requests into another one; looking is free, asking counts.

    Args:
        most: requests that are answered at once.
        most_bytes: of bodies whose end has not come, all together.
        seconds: in which a client must have sent its body.
    """

    def __init__(self, app: ASGIApp, most: int, most_bytes: int, seconds: float) -> None:
        self._app = app
        self.most = most
        self.most_bytes = most_bytes
        self.seconds = seconds
        self.active = 0
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429 before anything of it is read."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        asking = _Asking(self, receive)
        try:
            asking.require_place()
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        try:
            await self._app(scope, asking.receive, send)
        finally:
            asking.leave()


class _Asking:
    """One request, which takes its place when its body has come."""

    def __init__(self, bounds: Bounded, receive: Receive) -> None:
        self._bounds = bounds
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + bounds.seconds
        self._held = 0
        self._is_inside = False

    def require_place(self) -> None:
        """Raise ApiError where none is free."""
        if self._bounds.active >= self._bounds.most:
            raise overloaded(
                f"{self._bounds.active} requests are being answered, which is all: try again later"
            )

    async def receive(self) -> Message:
        """Return what the client sends next. Raises ApiError where it is too slow, or one too many."""
        if self._is_inside:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"the body did not arrive within {self._bounds.seconds:g} s"
            raise ApiError(408, text, kind="timeout_error", code="timeout") from None
        self._hold(len(message.get("body", b"")))
        if message["type"] == "http.request" and not message.get("more_body"):
            self.require_place()
            self._is_inside = True
            self._bounds.active += 1
            self._hold(-self._held)
        return message

    def _hold(self, size: int) -> None:
        self._held += size
        self._bounds.held += size
        if size > 0 and self._bounds.held > self._bounds.most_bytes:
            raise overloaded("too much is being sent by all together: try again later")

    def leave(self) -> None:
        """Give back what was taken."""
        self._hold(-self._held)
        self._bounds.active -= self._is_inside
