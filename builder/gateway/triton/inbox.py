"""Pieces of one or several hearings in the order they came, taken as many at once as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from builder.gateway.triton.hearing import Hearing, Piece

MOST_WAITING = 1024
"""Pieces kept for a client that reads slowly; beyond them Triton is left to wait, as HTTP/2 lets it."""

Pieces = list[tuple[int, Piece]]
"""(which hearing, what it said)."""


class Inbox:
    """Listens to hearings until all have ended, one has failed, or `cancel` is called."""

    def __init__(self, hearings: Sequence[Hearing], seconds: float) -> None:
        """After so many seconds without a piece `take` returns without one."""
        self._hearings = hearings
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ready: Pieces = []
        self._failure: BaseException | None = None
        self.is_cancelled = False
        self._open = len(hearings)
        self._taker: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._heard = False
        self._is_long = False
        self._timer = self._loop.call_later(seconds, self._tick)
        self._tasks = [
            asyncio.create_task(self._listen(place, hearing)) for place, hearing in enumerate(hearings)
        ]

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
        self._room.set()
        return ready

    def left(self) -> Pieces:
        """Return what was heard and not yet taken."""
        return self._ready

    def cancel(self) -> None:
        """Stop everything on the server at once; whoever takes gets nothing more."""
        self.is_cancelled = True
        self._timer.cancel()
        for hearing in self._hearings:
            hearing.cancel()
        for task in self._tasks:
            task.cancel()
        self._wake()

    async def _listen(self, place: int, hearing: Hearing) -> None:
        try:
            while (piece := await hearing.read()) is not None:
                self._ready.append((place, piece))
                self._heard = True
                self._wake()
                if len(self._ready) >= MOST_WAITING:
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError:
            if not self.is_cancelled:
                raise
        except Exception as error:
            self._failure = self._failure or error
            for other in self._hearings:
                other.cancel()
        finally:
            self._open -= 1
            self._wake()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _tick(self) -> None:
        if not self._heard:
            self._is_long = True
            self._wake()
        self._heard = False
        self._timer = self._loop.call_later(self._seconds, self._tick)
