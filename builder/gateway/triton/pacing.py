"""How often a connection that carries many calls is read: what comes in quick succession is read together.

A read of one token, with the waking before it, costs as much as all that becomes of the token. Nothing waits
that comes after a pause: the next token of an engine's step is read at once, the others of the step with it.
"""

from __future__ import annotations

import asyncio
from typing import Any

MANY = 16
"""Calls under way from which on the processor's time counts for more than the rest of a read."""
REST_SECONDS = 0.002
"""Between two reads of one connection: the longest that a token may wait, a tenth of an engine's step."""


class Pace:
    """The pace of one connection."""

    def __init__(self, transport: Any) -> None:
        """Take an asyncio.ReadTransport that is being read."""
        self._transport = transport

    def keep(self, calls: int) -> None:
        """Rest after a read, if so many calls are under way that it pays."""
        if calls >= MANY and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(REST_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()
