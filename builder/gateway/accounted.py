"""One request that is answered for a key: what it took is on the disk before the end of its answer is sent.

The beginning and the end of an answer pass through here; the pieces of a stream go past it.
"""

from __future__ import annotations

import logging
import os

from starlette.types import Message, Send

from builder.errors import KeysError
from builder.gateway import refusals
from builder.gateway.keys import clerk
from builder.gateway.keys.clerk import Admission, Clerk
from builder.gateway.keys.ledger import Entry
from builder.gateway.keys.prices import Prices
from builder.gateway.notes import Notes
from builder.gateway.protocol import errors

_LOG = logging.getLogger(__name__)
GONE = 499
"""The status of an answer that nobody waited for, as nginx has it."""


class Accounted:
    """One that is answered: written down before the last byte of its answer is sent."""

    def __init__(
        self, books: Clerk, prices: Prices, admission: Admission, noted: Notes, begun: int, send: Send
    ) -> None:
        self._clerk = books
        self._prices = prices
        self._key = admission.key
        self._noted = noted
        self._begun = begun
        self._id = os.urandom(16).hex()
        told = refusals.standing(admission.standing) | {"x-request-id": self._id}
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]
        self._write = send
        self._start: Message | None = None
        self._is_stream = False
        self._settled = False
        self.status = GONE

    async def send(self, message: Message) -> None:
        """Send the beginning, the end, or the whole of the answer."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message.get("more_body"):
            await self._write(message)
        else:
            await self._end(message)

    async def _begin(self, message: Message) -> None:
        message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        names = {name.lower() for name, _ in message["headers"]}
        # an answer of a known length may still become an error
        self._is_stream = b"content-length" not in names
        self._start = message
        if self._is_stream:
            await self._write(message)

    async def _end(self, message: Message) -> None:
        assert self._start is not None
        self.status = self._start["status"]
        try:
            await self.settle()
        except KeysError as error:
            _LOG.error("%s", error.found)
            await self._fail()
            return
        if not self._is_stream:
            await self._write(self._start)
        await self._write(message)

    async def _fail(self) -> None:
        """Say that the answer could not be written down, so that nobody takes it for accounted."""
        if self._is_stream:
            await self._write({"type": "http.response.body", "body": errors.event(refusals.unavailable())})
            return
        error = refusals.unavailable()
        headers = {**error.headers(), "content-type": "application/json"}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._write({"type": "http.response.start", "status": error.status, "headers": encoded})
        await self._write({"type": "http.response.body", "body": error.body()})

    async def settle(self) -> None:
        """Write down what the request took, once. Raises KeysError."""
        if self._settled:
            return
        self._settled = True
        await self._clerk.write(self._key, self._entry())

    def _entry(self) -> Entry:
        told = self._noted.usage.told() if self._noted.usage is not None else {}
        tokens = (told.get("prompt_tokens", 0), told.get("completion_tokens", 0))
        return Entry(
            id=self._id,
            key=self._key.id,
            model=self._noted.model,
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
            cost=self._prices.of(self._noted.model).of(*tokens),
            status=self._noted.failed or self.status,
            at=self._begun,
            duration=max(0, clerk.clock() - self._begun),
        )
