"""Who still waits for an answer: Triton is asked now and then, as every question crosses processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LOOKS_A_SECOND = 125
"""Over all answers: a look stalls a CPU engine, which needs every core, and hundreds of answers beside a GPU
engine would cost all of one."""

SECONDS_BETWEEN_ROUNDS = 0.1
"""How often those are looked at that bring nothing: they wait in line, or their prompt is read."""


class Watched(Protocol):
    """An answer under way."""

    name: str

    def is_cancelled(self) -> bool:
        """Ask Triton whether the client has gone."""
        ...


class Lookout:
    """Tells `abort` the name of every answer whose client has gone; used by one event loop only."""

    def __init__(self, abort: Callable[[str], None]) -> None:
        self._abort = abort
        self._looked: dict[Watched, float] = {}
        self._gone: set[Watched] = set()
        self._rounds: asyncio.Task[None] | None = None

    def enter(self, answer: Watched) -> None:
        """Watch an answer until it leaves."""
        self._looked[answer] = time.monotonic()
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._go_round())

    def leave(self, answer: Watched) -> None:
        """Watch it no longer."""
        del self._looked[answer]
        self._gone.discard(answer)
        if not self._looked and self._rounds is not None:
            self._rounds.cancel()
            self._rounds = None

    def has_gone(self, answer: Watched) -> bool:
        """Return whether the client has gone, as far as known; looks when it is time to."""
        if answer not in self._gone and self._since(answer) >= len(self._looked) / LOOKS_A_SECOND:
            self._look(answer)
        return answer in self._gone

    async def _go_round(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_ROUNDS)
            for answer in list(self._looked):
                if self._since(answer) >= SECONDS_BETWEEN_ROUNDS:
                    self.has_gone(answer)

    def _since(self, answer: Watched) -> float:
        return time.monotonic() - self._looked[answer]

    def _look(self, answer: Watched) -> None:
        self._looked[answer] = time.monotonic()
        if answer.is_cancelled():
            self._gone.add(answer)
            self._abort(answer.name)
