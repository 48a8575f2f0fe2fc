"""Server-sent events (html.spec.whatwg.org, 9.2) written to the socket as they come, without a layer between.

All that is ready is written at once, in its order, and nothing is held back for company.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from builder.gateway import notes
from builder.gateway.protocol import errors
from builder.gateway.protocol.errors import ApiError
from builder.gateway.protocol.generation import Generation
from builder.gateway.protocol.metering import WRITE
from builder.gateway.triton.hearing import Piece

Result = TypeVar("Result")

KEEP_ALIVE = b": still there\n\n"
DONE = b"data: [DONE]\n\n"
_HEADERS = [
    (b"cache-control", b"no-cache"),
    # nginx would gather what is to be read at once
    (b"x-accel-buffering", b"no"),
]


class Writer(Protocol):
    """Makes the events of one answered request."""

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return the events, one or more, that a piece of an answer makes."""
        ...

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the end of a stream."""
        ...

    def failed(self, error: ApiError) -> bytes:
        """Return the end of a stream that an error cuts."""
        ...


class EventStream(Response):
    """Answers with the events of a generation; a client that leaves stops it at once."""

    kind = b"text/event-stream; charset=utf-8"
    keep_alive = KEEP_ALIVE

    def __init__(self, generation: Generation, writer: Writer) -> None:
        super().__init__()
        self._generation = generation
        self._writer = writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole response; an error before its first byte is one of HTTP, a later one an event."""
        watching = asyncio.create_task(watch(receive, self._generation.cancel))
        try:
            await self._answer(scope, receive, send)
        finally:
            watching.cancel()
            self._generation.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            told = await self._generation.take()
        except ApiError as error:
            await self.refusal(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._told_headers()})
        # what stands around an answer sees its beginning and its end, not each piece
        write = scope[WRITE]
        try:
            while told is not None:
                data = b"".join([self._writer.event(answer, piece) for answer, piece in told])
                # a piece may make no event
                await _write(write, data if data or told else self.keep_alive)
                told = await self._generation.take()
            end = self._writer.last(self._generation.usage.told())
        except ApiError as error:
            end = self._failed(error)
        except asyncio.CancelledError:
            # only the server cancels what it runs, when it has waited long enough at its own end
            end = self._failed(ending())
        if self._generation.is_cancelled:
            notes.current().failed = gone().status
        else:
            await send({"type": "http.response.body", "body": end})

    def refusal(self, error: ApiError) -> Response:
        """Return the response of an error before the first event."""
        return error_response(error)

    def _told_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"content-type", self.kind), *_HEADERS]

    def _failed(self, error: ApiError) -> bytes:
        """Return the end of a stream that began well, which its status cannot tell any more."""
        notes.current().failed = error.status
        return self._writer.failed(error)


async def _write(send: Send, data: bytes) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def watch(receive: Receive, leave: Callable[[], object]) -> None:
    """Call `leave` when the client has gone; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


def error_response(error: ApiError) -> Response:
    """Return an error as a response."""
    return Response(error.body(), error.status, error.headers(), "application/json")


async def unless_gone(receive: Receive, generation: Generation) -> list[list[Piece]]:
    """Return the whole answers; a client that leaves stops them. Raises ApiError."""
    watching = asyncio.create_task(watch(receive, generation.cancel))
    try:
        answers = await generation.whole()
    except asyncio.CancelledError:
        raise ending() from None
    finally:
        watching.cancel()
        generation.cancel()
    if answers is None:
        raise gone()
    return answers


async def unless_left(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what some work gives; a client that leaves cancels it. Raises ApiError."""
    working = asyncio.ensure_future(work)
    watching = asyncio.create_task(watch(receive, working.cancel))
    try:
        return await working
    except asyncio.CancelledError:
        working.cancel()
        raise (gone() if watching.done() else ending()) from None
    finally:
        watching.cancel()


def gone() -> ApiError:
    """Return the error that nobody reads."""
    return ApiError(499, "the client went away", code="client_closed_request")


def ending() -> ApiError:
    """Return the error of an answer that is cut because the gateway ends."""
    message = "the gateway is ending: try again in a moment"
    return ApiError(503, message, kind=errors.SERVER, code="unavailable", retry_after=1)
