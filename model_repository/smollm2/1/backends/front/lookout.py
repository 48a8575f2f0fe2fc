"""Who still waits for an answer: Triton is asked now and then, as every question crosses processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LOOKS_A_SECOND = 125
"""Over all answers, at their responses: a look wakes four threads in two processes. On a CPU engine, which
needs every core, it stalls a step; beside a GPU engine hundreds of answers, each looked at so often, would
cost a core."""

ROUNDS_A_SECOND = 60
"""How often somebody is looked at without a response, which an engine may hold back for longer."""

SECONDS_OF_PATIENCE = 0.1
"""How long those are left alone that have brought nothing: they wait in line, or their prompt is read."""


class Watched(Protocol):
    """An answer under way."""

    name: str

    def is_cancelled(self) -> bool:
        """Ask Triton whether the client has gone."""
        ...


class Lookout:
    """Tells `abort` the name of every answer whose client has gone; used by one event loop only.

    Clients seldom leave alone: a process that ends, or a connection that breaks, takes all its requests
    along. So whoever is found to have gone is reason to look at the next one at once.
    """

    def __init__(self, abort: Callable[[str], None]) -> None:
        self._abort = abort
        self._looked: dict[Watched, float] = {}
        self._flowing: set[Watched] = set()
        self._gone: set[Watched] = set()
        self._are_leaving = False
        self._rounds: asyncio.Task[None] | None = None

    def enter(self, answer: Watched) -> None:
        """Watch an answer until it leaves."""
        self._looked[answer] = time.monotonic()
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._go_round())

    def leave(self, answer: Watched) -> None:
        """Watch it no longer."""
        del self._looked[answer]
        self._flowing.discard(answer)
        self._gone.discard(answer)
        if not self._looked and self._rounds is not None:
            self._rounds.cancel()
            self._rounds = None

    def has_gone(self, answer: Watched) -> bool:
        """Return whether the client of a response has gone, as far as known; looks when it is time to."""
        if answer not in self._flowing:
            # the first token is what its client waits for
            self._flowing.add(answer)
        elif self._since(answer) >= len(self._looked) / LOOKS_A_SECOND:
            self._are_leaving |= self._look(answer)
        return answer in self._gone

    async def _go_round(self) -> None:
        while True:
            await asyncio.sleep(0 if self._are_leaving else 1 / ROUNDS_A_SECOND)
            due = list(filter(self._is_due, self._looked))
            self._are_leaving = bool(due) and self._look(max(due, key=self._since))

    def _is_due(self, answer: Watched) -> bool:
        if answer in self._gone:
            return False
        if self._are_leaving:
            return True
        patience = 1 / ROUNDS_A_SECOND if answer in self._flowing else SECONDS_OF_PATIENCE
        return self._since(answer) >= patience

    def _since(self, answer: Watched) -> float:
        return time.monotonic() - self._looked[answer]

    def _look(self, answer: Watched) -> bool:
        """Return whether the client of an answer that was there has gone."""
        self._looked[answer] = time.monotonic()
        if answer in self._gone or not answer.is_cancelled():
            return False
        self._gone.add(answer)
        self._abort(answer.name)
        return True
