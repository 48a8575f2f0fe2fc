"""What arrives for one sequence, in order, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from backends.engine.protocol import EngineError, Step

Item = Step | EngineError


class Mailbox:
    """Filled by the event loop that reads it; what piles up while the reader is busy becomes one step."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._reader: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Add what came; an error is the last."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def steps(self, read: Callable[[int], None] = lambda items: None) -> AsyncGenerator[Step]:
        """Yield steps up to the one with a finish reason; raise an error once what came before it was read.

        `read` is told how many items a step was made of, as soon as the reader comes back for more.
        """
        while True:
            if not self._items:
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader
            items, self._items = self._items, []
            steps = [item for item in items if isinstance(item, Step)]
            if steps:
                yield merge(steps)
                if steps[-1].finish_reason:
                    return
            if isinstance(items[-1], EngineError):
                raise items[-1]
            read(len(items))


def merge(steps: Sequence[Step]) -> Step:
    """Return consecutive steps of one sequence as one."""
    if len(steps) == 1:
        return steps[0]
    return Step(
        ids=tuple(token for step in steps for token in step.ids),
        log_probs=tuple(value for step in steps for value in step.log_probs),
        finish_reason=steps[-1].finish_reason,
        waited=steps[0].waited,
        tops=tuple(top for step in steps for top in step.tops),
    )


def deliver(items: Sequence[tuple[Mailbox, Item]]) -> None:
    """Put each item into its mailbox; to be called in the loop that reads them."""
    for mailbox, item in items:
        mailbox.put(item)
