"""Steps on their way from an engine's thread to one coroutine; a slow reader never slows the engine."""

from __future__ import annotations

import asyncio
from collections import deque

from backends.engine.protocol import EngineError, Step


class Mailbox:
    """Belongs to the event loop in which it is made; `put` is safe from any thread and never waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._items: deque[Step | EngineError] = deque()

    def put(self, item: Step | EngineError) -> None:
        """Leave a step, or the error that ends the request."""
        self._items.append(item)
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            # The reader's event loop is closed: nobody is left to read.
            pass

    async def take(self) -> list[Step]:
        """Wait for steps and return all that are there, oldest first; raise the error in their place."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        steps: list[Step] = []
        while self._items:
            item = self._items[0]
            if isinstance(item, EngineError):
                if steps:
                    break
                raise item
            steps.append(item)
            self._items.popleft()
        return steps
