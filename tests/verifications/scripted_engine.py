"""An engine without a model: the logits after some ids are a hash of these ids.

Lies in a version folder as backends/engine/scripted.py. It is deterministic, takes the time it is told
to per step, and honours every sampling parameter, because the tokens are chosen by the real Sampler.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.engine import scheduler
from backends.engine.guided import Guided
from backends.engine.guides import Guides
from backends.engine.protocol import Health, Sampling, Step
from backends.engine.sampling import Sampler, log_probability
from backends.engine.scheduler import Scheduler

DEADLY = 399
"""A prompt of so many ids kills an engine that has a process of its own (hosted_script.py)."""


class Script:
    """Which ids may come (`spoken`), out of how many, and which one ends."""

    def __init__(self, vocabulary: int, spoken: Sequence[int], end_id: int) -> None:
        self.vocabulary = vocabulary
        self.spoken = np.array(sorted(set(spoken)))
        self.end_id = end_id

    def logits(self, ids: Sequence[int], adapter: str = "") -> np.ndarray:
        """Return float32 [vocabulary]: spoken ids from 0 to 12, silence far below, the end now and then.

        With an adapter it is another script.
        """
        state = zlib.crc32(np.array(ids, dtype=np.int32).tobytes(), zlib.crc32(adapter.encode()))
        row = np.full(self.vocabulary, -20.0, dtype=np.float32)
        row[self.spoken] = np.random.default_rng(state).random(len(self.spoken)) * 12
        if state % 37 == 0:
            row[self.end_id] = 15.0
        return row


def create(settings: Mapping[str, Any], folder: Path) -> Scripted:
    """Read the script that `engine_arguments` of settings.json hold."""
    return Scripted(settings, folder)


class Scripted:
    """See Engine."""

    name = "scripted"
    unsupported = frozenset({"beam_width", "length_penalty"})

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        arguments = settings["engine_arguments"]
        self._script = Script(arguments["vocabulary"], arguments["spoken"], settings["end_ids"][0])
        self._seconds = arguments["step_seconds"]
        self._context = int(settings["context_length"])
        self._scheduler = Scheduler(settings["max_active"], settings["max_waiting"])
        self._guides = Guides(folder / "tokenizer" / "tokenizer.json", settings["max_waiting"])

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        scheduler.require_room(ids, sampling, self._context)
        guided = await self._guides.open(request, sampling.guide, sampling) if sampling.guide else None
        steps = self._scheduler.generate(
            request, lambda: _Sequence(self._script, self._seconds, ids, sampling, guided), sampling
        )
        async for step in steps:
            yield step

    async def score(self, ids: Sequence[int]) -> list[float]:
        return [log_probability(self._script.logits(ids[:place]), ids[place]) for place in range(1, len(ids))]

    def abort(self, request: str) -> None:
        self._scheduler.abort(request)

    def health(self) -> Health:
        return self._scheduler.health()

    def close(self) -> None:
        self._scheduler.close()


class _Sequence:
    def __init__(
        self, script: Script, seconds: float, ids: Sequence[int], sampling: Sampling, guided: Guided | None
    ) -> None:
        self._script = script
        self._seconds = seconds
        self._ids = list(ids)
        self._sampler = Sampler(sampling, ids, guided)
        self._adapter = sampling.adapter

    def close(self) -> None:
        """Hold nothing that would have to be given back."""

    def turn(self) -> Step | None:
        time.sleep(self._seconds)
        step = self._sampler.step(self._script.logits(self._ids, self._adapter))
        self._ids += step.ids
        return step


def golden_answer(script: Script, ids: Sequence[int], most: int) -> dict[str, Any]:
    """Return the greedy answer as golden.json holds it, without its text."""
    spoken: list[int] = []
    gaps: list[float] = []
    while len(spoken) < most:
        row = script.logits([*ids, *spoken])
        second, first = np.sort(row)[-2:]
        if int(row.argmax()) == script.end_id:
            return {"output_ids": spoken, "gaps": gaps, "finish_reason": "stop"}
        spoken.append(int(row.argmax()))
        gaps.append(json.loads(f"{first - second:.4f}"))
    return {"output_ids": spoken, "gaps": gaps, "finish_reason": "length"}
