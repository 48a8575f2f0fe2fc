"""Scheduled: what engines share whose sequences are advanced by our Scheduler and chosen by our Sampler."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.engine import grammars
from backends.engine.guided import Guided
from backends.engine.guides import Guides
from backends.engine.protocol import Guide, Health, InvalidRequest, Sampling, Step
from backends.engine.scheduler import Runner, Scheduler, require_room

GUIDE_INPUTS = ("guided_decoding_guide_type", "guided_decoding_guide")
LACKING = f"the Python package {grammars.PACKAGE} is not installed where the model runs"


class Scheduled(ABC):
    """An Engine but for its runners and its name.

    It holds answers to guides where the package for it is installed; its vocabulary is that of
    `folder`/tokenizer/tokenizer.json.
    """

    def __init__(self, scheduler: Scheduler, settings: Mapping[str, Any], folder: Path) -> None:
        self._scheduler = scheduler
        self._context = int(settings["context_length"])
        most = int(settings["max_active"]) + int(settings["max_waiting"])
        self._guides = Guides(folder / "tokenizer" / "tokenizer.json", most) if grammars.available() else None
        self.lacking = {} if self._guides else dict.fromkeys(GUIDE_INPUTS, LACKING)
        self.unsupported = frozenset({"beam_width", "length_penalty", *self.lacking})
        self._aborted = 0

    @abstractmethod
    def answering(self, ids: Sequence[int], sampling: Sampling, guided: Guided | None) -> Runner:
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
        guided = None
        if sampling.guide is not None:
            guided = await self._opened(request, sampling.guide, sampling)
            if guided is None:
                self._aborted += 1
                yield Step((), finish_reason="cancelled")
                return
        steps = self._scheduler.generate(request, lambda: self.answering(ids, sampling, guided), sampling)
        async for step in steps:
            yield step

    async def _opened(self, request: str, guide: Guide, sampling: Sampling) -> Guided | None:
        if self._guides is None:
            raise InvalidRequest(f"a guide cannot be followed: {LACKING}")
        return await self._guides.open(request, guide, sampling)

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
        if self._guides:
            self._guides.abort(request)
        self._scheduler.abort(request)

    def health(self) -> Health:
        """Return the counters now; who waits for a guide waits."""
        health = self._scheduler.health()
        if not self._guides:
            return health
        return replace(
            health,
            waiting=health.waiting + self._guides.waiting,
            cancelled=health.cancelled + self._aborted,
        )

    def close(self) -> None:
        """Finish what runs, then free the model."""
        if self._guides:
            self._guides.close()
        self._scheduler.close()
        self.free()
