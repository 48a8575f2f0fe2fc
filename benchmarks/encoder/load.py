"""The closed loop, the same for all servers: so many workers, each asks as soon as it was answered."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encoder.doors import Door, Vector


@dataclass(frozen=True)
class Run:
    """What one run took: all of it in seconds, and every call's latency in ms."""

    seconds: float
    latencies_ms: list[float]
    texts: int

    @property
    def rate(self) -> float:
        """Return the texts per second."""
        return self.texts / self.seconds


def closed(door: Door, texts: Sequence[str], concurrency: int, warm_up: int) -> Run:
    """Ask for every text once, `concurrency` at a time; `warm_up` of them are asked before, uncounted."""
    requests = [door.request(text) for text in texts]

    async def both() -> Run:
        await door.knock()
        try:
            await _loop(door, requests[:warm_up], concurrency)
            return await _loop(door, requests, concurrency)
        finally:
            await door.leave()

    # a collection in the middle would look like a server's delay
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(both())
    finally:
        gc.enable()


def vectors(door: Door, texts: Sequence[str]) -> list[Vector]:
    """Return the embeddings of texts, asked for all at once."""

    async def ask() -> list[Any]:
        await door.knock()
        try:
            return await asyncio.gather(*(door.ask(door.request(text)) for text in texts))
        finally:
            await door.leave()

    return [door.vector(answer) for answer in asyncio.run(ask())]


async def _loop(door: Door, requests: Sequence[Any], concurrency: int) -> Run:
    waiting = iter(requests)
    latencies: list[float] = []

    async def work() -> None:
        for request in waiting:
            before = time.perf_counter()
            await door.ask(request)
            latencies.append(1000 * (time.perf_counter() - before))

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return Run(time.perf_counter() - started, latencies, len(requests))
