"""Who takes part, and at which settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from encoder import doors
from encoder.contest import Settings
from encoder.doors import Door


@dataclass(frozen=True)
class Lineup:
    """How a row takes part: its settings to try, and its door.

    A row without a door is a library. `peer` is the file of peers/ that it runs, where that is not named like
    the row. With an environment of its own it has the packages of benchmarks/requirements-encoder-PEER.txt,
    else those of the project. `counts` says that its door leads to a Triton, which counts its batches. One
    that is `restless` polls while nobody asks, and is stopped then: the others' turns are theirs. A run that
    is `quick` tries these settings only, or the last.
    """

    kind: str
    candidates: tuple[Settings, ...]
    door: Callable[[int], Door] | None = None
    peer: str = ""
    own_environment: bool = True
    counts: bool = False
    restless: bool = False
    quick: tuple[Settings, ...] = ()


CORES = len(os.sched_getaffinity(0))
_TOGETHER: Settings = {"threads": CORES, "workers": 1}
_APART: Settings = {"threads": 1, "workers": CORES}
_BATCHES = tuple({"batch": size, "sorted": size > 1} for size in (1, 4, 8, 16, 32, 64))
_RAW = tuple(
    {"graph": graph, **sessions, **batches}
    for graph in ("padded", "packed")
    for sessions in (_TOGETHER, _APART)
    for batches in (*_BATCHES, {"batch": 16, "sorted": False})
)
_PROCESSES = (_TOGETHER, {"threads": 1, "workers": 1}, _APART)
_ENGINES: tuple[Settings, ...] = (
    {"engine": "sentence_transformers", **_TOGETHER},
    {"engine": "onnxruntime", **_APART},
    {"engine": "onnxruntime", **_TOGETHER},
)


def _embed(port: int) -> Door:
    return doors.Json(f"http://127.0.0.1:{port}/embed")


PEERS = {
    "onnxruntime": Lineup(
        "raw",
        _RAW,
        own_environment=False,
        quick=tuple({"graph": "packed", **sessions, **_BATCHES[0]} for sessions in (_TOGETHER, _APART)),
    ),
    "sentence_transformers": Lineup(
        "library", tuple({"threads": CORES, "batch": batch} for batch in (1, 16, 32, 64))
    ),
    # what tutorials show: one process, torch's threads are the cores
    "fastapi_torch": Lineup("served", _PROCESSES[:1], _embed),
    "fastapi_torch_tuned": Lineup("served", _PROCESSES[1:], _embed, peer="fastapi_torch"),
    "fastapi_onnxruntime": Lineup("served", _PROCESSES, _embed),
    "litserve": Lineup(
        "served",
        tuple(
            {**engine, "max_batch_size": 64, "batch_timeout_s": timeout}
            for engine in _ENGINES
            for timeout in (0.05, 0.005)
        ),
        lambda port: doors.Json(f"http://127.0.0.1:{port}/predict"),
        restless=True,
    ),
    "bentoml": Lineup(
        "served",
        tuple({**engine, "max_batch_size": 64, "max_latency_ms": 60_000} for engine in _ENGINES),
        lambda port: doors.Json(f"http://127.0.0.1:{port}/embed", "texts", batches=True),
    ),
    # its callable runs in one process
    "pytriton": Lineup(
        "served",
        tuple(
            {"engine": engine, "threads": CORES, "max_batch_size": 64, "delay_us": delay}
            for engine in ("sentence_transformers", "onnxruntime")
            for delay in (1000, 0)
        ),
        lambda port: doors.TritonGrpc(f"127.0.0.1:{port}", "minilm", text="text"),
        counts=True,
    ),
}
