"""A closed loop over gRPC from several processes: one that is written in Python asks too slowly for a GPU.

Run as `python -m encoder.gpu_load` by Clients, one process of it for a part of the requests in flight.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from types import TracebackType
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2_grpc
from workbench.children import BENCHMARKS

from encoder.doors import TritonGrpc

PROCESSES = 8
"""Each can ask for some 4,000 texts a second."""

_SECONDS_TO_WARM = 0.4
"""What is answered before that moment does not count."""


@dataclass(frozen=True)
class Sample:
    """What one run gave: texts per second, and the time of one call in ms."""

    texts_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    mean_batch: float | None = None


def sample_of(texts: int, seconds: float, latencies_ms: Sequence[float]) -> Sample:
    """Return the Sample of texts that were answered within a window."""
    several = len(latencies_ms) > 1
    p50 = median(latencies_ms) if latencies_ms else None
    p99 = quantiles(latencies_ms, n=100, method="inclusive")[98] if several else None
    return Sample(texts / seconds, p50, p99)


class Clients:
    """Processes that wait to ask; they end with the block."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._number = processes
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "encoder.gpu_load"]
        self._processes = [
            subprocess.Popen(
                command, cwd=BENCHMARKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(self._number)
        ]
        for process in self._processes:
            assert process.stdout is not None
            process.stdout.readline()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def sample(
        self, address: str, model: str, texts: Sequence[str], concurrency: int, seconds: float
    ) -> Sample:
        """Keep so many requests in flight for some seconds; raise SystemExit when one fails."""
        begin = time.monotonic() + _SECONDS_TO_WARM
        told = {"address": address, "model": model, "begin": begin, "end": begin + seconds}
        shares = list(shared(concurrency, len(self._processes)))
        asking = self._processes[: len(shares)]
        for number, (process, share) in enumerate(zip(asking, shares, strict=True)):
            assert process.stdin is not None
            job = {**told, "in_flight": share, "texts": list(texts[number :: len(shares)])}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        latencies: list[float] = []
        for process in asking:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = json.loads(line) if line else {"error": "a client ended"}
            if "error" in found:
                raise SystemExit(f"{model} was asked in vain: {found['error']}")
            latencies += found["latencies_ms"]
        return sample_of(len(latencies), seconds, latencies)


def shared(concurrency: int, processes: int) -> Iterator[int]:
    """Yield how many requests each process keeps in flight, none of them zero."""
    used = min(concurrency, processes)
    for number in range(used):
        yield concurrency // used + (number < concurrency % used)


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Ask as told; return the latencies of the requests that ended within the window."""
    door = TritonGrpc(job["address"], job["model"])
    requests = itertools.cycle([door.request(text) for text in job["texts"]])
    gc.collect()
    gc.disable()
    try:
        if job["in_flight"] == 1:
            return {"latencies_ms": _alone(job, requests)}
        return {"latencies_ms": asyncio.run(_together(job, door, requests))}
    except Exception as error:
        return {"error": repr(error)}
    finally:
        gc.enable()


def _alone(job: dict[str, Any], requests: Iterator[Any]) -> list[float]:
    """Ask one after the other by a call that blocks, as a client with one thing to do does."""
    latencies = []
    with grpc.insecure_channel(job["address"]) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        while (before := time.monotonic()) < job["end"]:
            infer(next(requests))
            _note(latencies, before, job)
    return latencies


async def _together(job: dict[str, Any], door: Any, requests: Iterator[Any]) -> list[float]:
    latencies: list[float] = []

    async def work() -> None:
        while (before := time.monotonic()) < job["end"]:
            await door.ask(next(requests))
            _note(latencies, before, job)

    await door.knock()
    try:
        await asyncio.gather(*(work() for _ in range(job["in_flight"])))
    finally:
        await door.leave()
    return latencies


def _note(latencies: list[float], before: float, job: dict[str, Any]) -> None:
    after = time.monotonic()
    if job["begin"] <= after <= job["end"]:
        latencies.append(1000 * (after - before))


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
