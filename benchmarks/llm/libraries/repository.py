"""The engine that a repository names, without Triton: what stands in for a raw library in a rehearsal."""

from __future__ import annotations

import asyncio
import importlib
import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm.libraries import Arrived


def load(folder: Path, arguments: Mapping[str, Any]) -> Repository:
    """Create the engine of settings.json."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    module = importlib.import_module(f"backends.engine.{settings['engine']}")
    return Repository(module.create({**settings, "engine_arguments": dict(arguments)}, folder))


class Repository:
    """See Library; the engine answers in an event loop in a thread of its own."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._arrived: queue.SimpleQueue[tuple[str, list[int], bool]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._left = 0

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        found: dict[str, list[int]] = {str(number): [] for number in range(len(prompts))}
        for key, ids in zip(found, prompts, strict=True):
            self.add(key, ids, tokens)
        while self._left:
            for key, ids, _ in self.step():
                found[key] += ids
        return list(found.values())

    def add(self, key: str, ids: Sequence[int], tokens: int) -> None:
        self._left += 1
        asyncio.run_coroutine_threadsafe(self._answer(key, ids, tokens), self._loop)

    def step(self) -> Arrived:
        return list(self._heard())

    def abort(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._engine.abort(key)
        while self._left:
            self.step()

    def forget(self) -> None:
        pass  # the engines for CPUs keep none

    def close(self) -> None:
        self._engine.close()

    def _heard(self) -> Iterator[tuple[str, list[int], bool]]:
        while True:
            heard = self._arrived.get()
            self._left -= heard[2]
            yield heard
            if self._arrived.empty():
                return

    async def _answer(self, key: str, ids: Sequence[int], tokens: int) -> None:
        from backends.engine.protocol import Sampling

        async for step in self._engine.generate(key, list(ids), Sampling(max_tokens=tokens)):
            self._arrived.put((key, list(step.ids), bool(step.finish_reason)))
