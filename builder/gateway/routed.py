"""Requests that a route leads: asked again of the next model while nothing was sent, counted, and timed.

Innermost of what stands around the endpoints: to those further out a request is one, whoever answered it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from builder.gateway import notes
from builder.gateway.notes import Notes
from builder.gateway.protocol.metering import STREAMS, Meters
from builder.gateway.routing.live import Routing
from builder.gateway.triton.failures import Kind

_ELSEWHERE = (Kind.OVERLOADED, Kind.UNAVAILABLE, Kind.UNKNOWN_MODEL)
"""Why another model may do; what one model cannot take, or breaks on, is not tried on the next."""
_FAILED = (408, 429)
"""Statuses below 500 that tell of a failure of the model's: all others there are the client's own affair."""
_LEFT = 499


class Routed:
    """An ASGI application that passes requests to another one, again where a route has another model."""

    def __init__(self, app: ASGIApp, routing: Routing, meters: Meters) -> None:
        self._app = app
        self._routing = routing
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on until it is answered."""
        if not self._routing.state.routes or scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = Body(receive)
        attempt = await self._attempt(scope, body, send)
        while attempt.is_passed_on:
            body.rewind()
            attempt = await self._attempt(scope, body, send)
        if (way := attempt.noted.way) is not None:
            for name in way.passed:
                self._meters.fallbacks.labels(way.route.name, name).inc()

    async def _attempt(self, scope: Scope, body: Body, send: Send) -> Attempt:
        attempt = Attempt(notes.current(), body, send)
        try:
            # the router writes into the scope
            await self._app({**scope}, body.receive, attempt.send)
        finally:
            self._note(scope["path"], attempt)
        return attempt

    def _note(self, path: str, attempt: Attempt) -> None:
        way = attempt.noted.way
        if way is None or not attempt.has_asked:
            return
        self._meters.routed.labels(way.route.name, way.model).inc()
        status = attempt.end_status
        if status >= 500 or status in _FAILED:
            self._routing.hear(way, path, None)
        elif status < 400 or status == _LEFT:
            kind = f"{path}, {'to the first event' if attempt.is_stream else 'whole'}"
            self._routing.hear(way, kind, attempt.seconds())


class Body:
    """What a client sends, kept until something was answered, so that it can be read again."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self._place = 0
        self._keeps = True

    async def receive(self) -> Message:
        """Return the next message, those that were read before a rewinding first."""
        if self._place < len(self._kept):
            self._place += 1
            return self._kept[self._place - 1]
        message = await self._receive()
        if self._keeps and message["type"] == "http.request":
            self._kept.append(message)
            self._place += 1
        return message

    def rewind(self) -> None:
        """Begin again."""
        self._place = 0

    def drop(self) -> None:
        """Keep nothing any more."""
        self._keeps = False
        self._kept.clear()


class Attempt:
    """One model asked: its answer is sent, or held back where another model is to be asked."""

    def __init__(self, noted: Notes, body: Body, send: Send) -> None:
        self.noted = noted
        self.is_passed_on = False
        self.is_stream = False
        self._body = body
        self._send = send
        self._status = 0
        self._begun = time.monotonic()
        self._answered: float | None = None
        self._asked_before = self._asked
        noted.failure = noted.failed = noted.first = None

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer, or nothing of it."""
        if message["type"] == "http.response.start":
            self._begin(message)
        return _nothing() if self.is_passed_on else self._send(message)

    @property
    def has_asked(self) -> bool:
        """Say whether a model was found and asked."""
        return self._asked != self._asked_before

    @property
    def end_status(self) -> int:
        """Return how it ended, 500 where nothing was answered."""
        return self.noted.failed or self._status or 500

    def seconds(self) -> float:
        """Return how long it took to the first event of a stream, or to a whole answer.

        Who leaves before that has waited so long at the least.
        """
        now = time.monotonic()
        answered = self.noted.first if self.is_stream else self._answered
        return (answered or now) - self._begun

    @property
    def _asked(self) -> str:
        return self.noted.way.model if self.noted.way is not None else ""

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        self._answered = time.monotonic()
        kinds = [value for name, value in message["headers"] if name == b"content-type"]
        self.is_stream = any(kind.startswith(STREAMS) for kind in kinds)
        self.is_passed_on = self._status >= 400 and self._may_pass_on()
        if not self.is_passed_on:
            self._body.drop()

    def _may_pass_on(self) -> bool:
        way, failure = self.noted.way, self.noted.failure
        if way is None or failure is None:
            return False
        return bool(way.ahead) and failure.kind in _ELSEWHERE


async def _nothing() -> None:
    """Send nothing."""
