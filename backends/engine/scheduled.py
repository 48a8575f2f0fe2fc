"""Scheduled: what engines share whose sequences are advanced by our Scheduler and chosen by our Sampler."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from backends.engine.protocol import Health, Sampling, Step
from backends.engine.scheduler import Runner, Scheduler, require_room


class Scheduled(ABC):
    """An Engine but for its runners and its name."""

    unsupported = frozenset(
        {
            "beam_width",
            "length_penalty",
            "guided_decoding_guide_type",
            "guided_decoding_guide",
        }
    )

    def __init__(self, scheduler: Scheduler, context: int) -> None:
        self._scheduler = scheduler
        self._context = context

    @abstractmethod
    def answering(self, ids: Sequence[int], sampling: Sampling) -> Runner:
        """Return the runner that generates after `ids`."""

    @abstractmethod
    def scoring(self, ids: Sequence[int], found: list[float]) -> Runner:
        """Return the runner that appends to `found` how likely each id after the first was."""

    @abstractmethod
    def free(self) -> None:
        """Free the model; nothing runs any more."""

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        """Yield steps; see Engine.generate."""
        require_room(ids, sampling, self._context)
        async for step in self._scheduler.generate(request, lambda: self.answering(ids, sampling), sampling):
            yield step

    async def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log probability of each id after the first, given those before it."""
        if len(ids) < 2:
            return []
        found: list[float] = []
        steps = self._scheduler.generate("score", lambda: self.scoring(ids, found), Sampling(max_tokens=1))
        async for _ in steps:
            await asyncio.sleep(0)
        return found

    def abort(self, request: str) -> None:
        """End a request before its next step."""
        self._scheduler.abort(request)

    def health(self) -> Health:
        """Return the counters now."""
        return self._scheduler.health()

    def close(self) -> None:
        """Finish what runs, then free the model."""
        self._scheduler.close()
        self.free()
