"""An engine that answers with the prompt it got, a token at a time; on demand it never stops.

Lies in a version folder as backends/engine/echoing.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.engine.protocol import Health, InvalidRequest, Sampling, Step


def create(settings: Mapping[str, Any], folder: Path) -> Echoing:
    """Read from `engine_arguments` the ids that make an answer endless, those refused, and the pace."""
    return Echoing(settings["engine_arguments"])


class Echoing:
    """See Engine."""

    name = "echoing"
    unsupported: frozenset[str] = frozenset()

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._endless: list[int] = arguments["endless"]
        self._refused: list[int] = arguments["refused"]
        self._seconds: float = arguments["step_seconds"]
        self._most = 2**31
        self._aborted: set[str] = set()
        self._generated = self._cancelled = self._active = 0

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        if holds(ids, self._refused):
            raise InvalidRequest("this engine takes offence")
        length = self._most if holds(ids, self._endless) else len(ids)
        self._active += 1
        try:
            for place in range(min(length, sampling.max_tokens)):
                await asyncio.sleep(self._seconds)
                if request in self._aborted:
                    self._cancelled += 1
                    yield Step((), finish_reason="cancelled")
                    return
                self._generated += 1
                yield Step((ids[place % len(ids)],))
            yield Step((), finish_reason="stop" if length <= sampling.max_tokens else "length")
        finally:
            self._active -= 1

    async def score(self, ids: Sequence[int]) -> list[float]:
        return [0.0] * (len(ids) - 1)

    def abort(self, request: str) -> None:
        self._aborted.add(request)

    def health(self) -> Health:
        return Health(self._active, 0, self._generated, self._generated, self._cancelled)

    def close(self) -> None:
        """Nothing is held."""


def holds(ids: Sequence[int], part: Sequence[int]) -> bool:
    """Return whether `part` stands somewhere in `ids`."""
    return any(list(ids[start : start + len(part)]) == part for start in range(len(ids)))
