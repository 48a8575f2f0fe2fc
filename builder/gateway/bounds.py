"""How many requests are answered at once; those beyond are refused before anything of them is read."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from builder.gateway.protocol.errors import overloaded
from builder.gateway.protocol.sse import error_response


class Bounded:
    """An ASGI application that lets so many requests into another one; looking is free, asking counts."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._active >= self._most:
            error = overloaded(f"{self._active} requests are being answered, which is all: try again later")
            await error_response(error)(scope, receive, send)
            return
        self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
