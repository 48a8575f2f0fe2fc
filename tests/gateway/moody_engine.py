"""The echoing engine, in whatever mood a file says: it fails, is slow, has no place, or breaks off.

Lies in a version folder as backends/engine/moody.py, beside echoing.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.engine.echoing import Echoing

from backends.engine.protocol import DeadlineExceeded, Overloaded, Sampling, Step


def create(settings: Mapping[str, Any], folder: Path) -> Moody:
    """Read from `engine_arguments` also the file that says the mood."""
    return Moody(settings["engine_arguments"])


class Moody(Echoing):
    """See Engine."""

    name = "moody"

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        self._mood = Path(arguments["mood"])

    async def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        mood, _, seconds = self._mood.read_text().partition(" ")
        if mood == "failing":
            raise RuntimeError("this engine is broken")
        if mood == "full":
            raise Overloaded("no place in this engine: try again later")
        if mood == "late":
            raise DeadlineExceeded("Request timeout expired")
        if mood == "slow":
            await asyncio.sleep(float(seconds))
        steps = 0
        async for step in super().generate(request, ids, sampling):
            yield step
            steps += 1
            if mood == "cut" and steps == 3:
                raise RuntimeError("this engine broke off")
