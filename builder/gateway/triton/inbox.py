"""Pieces of one or several hearings in the order they came, taken as many at once as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from builder.gateway.triton.failures import Failure
from builder.gateway.triton.hearing import Piece, Said

Pieces = list[tuple[int, Piece]]
"""(which hearing, what it said)."""


class Heard(Protocol):
    """What an inbox needs of a hearing."""

    def go_on(self) -> None:
        """Have as much again sent as was taken; one that is not told so stands still after a while."""
        ...

    def cancel(self) -> None:
        """Stop it, and tell nothing more; of no effect once it has ended."""
        ...


Begin = Callable[[Callable[[Said], object]], Heard]
"""Begins a hearing that tells what it hears to whom is given; not before the event loop's next turn."""


class Inbox:
    """Listens to hearings until all have ended, one has failed, or `cancel` is called.

    A client that reads slowly is waited for by Triton: only what is taken makes room for more.
    """

    def __init__(self, begins: Sequence[Begin], seconds: float) -> None:
        """After so many seconds without a piece `take` returns without one."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ready: Pieces = []
        self._failure: Failure | None = None
        self.is_cancelled = False
        self._open = len(begins)
        self._taker: asyncio.Future[None] | None = None
        self._heard = False
        self._is_long = False
        self._timer = self._loop.call_later(seconds, self._tick)
        self._hearings = [begin(partial(self._note, place)) for place, begin in enumerate(begins)]

    async def take(self) -> Pieces | None:
        """Return what is there, which is nothing when it was silent for long; None when nothing follows.

        Raises Failure, after all that was heard before it.
        """
        while not self._ready:
            if self.is_cancelled:
                return None
            if self._failure is not None:
                raise self._failure
            if not self._open:
                return None
            self._taker = self._loop.create_future()
            await self._taker
            if self._is_long and not self._ready:
                self._is_long = False
                return []
        ready, self._ready = self._ready, []
        for hearing in self._hearings:
            hearing.go_on()
        return ready

    def left(self) -> Pieces:
        """Return what was heard and not yet taken."""
        return self._ready

    def cancel(self) -> None:
        """Stop everything on the server at once; whoever takes gets nothing more."""
        self.is_cancelled = True
        self._timer.cancel()
        self._cancel_hearings()
        self._wake()

    def _note(self, place: int, said: Said) -> None:
        if isinstance(said, Piece):
            self._ready.append((place, said))
            self._heard = True
        elif said is None:
            self._open -= 1
        elif self._failure is None:
            self._failure = said
            self._cancel_hearings()
        self._wake()

    def _cancel_hearings(self) -> None:
        for hearing in self._hearings:
            hearing.cancel()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _tick(self) -> None:
        if not self._heard:
            self._is_long = True
            self._wake()
        self._heard = False
        self._timer = self._loop.call_later(self._seconds, self._tick)
