"""A stepper whose sequences count from their prompt's last id; tests copy it beside the engines.

The first id of a prompt says what happens: 1 goes on, REFUSED is refused, BROKEN breaks the library at its
second step, KILLED ends the process there, STUCK never returns from it, PATIENT is nothing until another
sequence comes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.engine.hosted import Hosted
from backends.engine.protocol import InvalidRequest, Sampling
from backends.engine.stepper import Gauges, Progress

REFUSED, BROKEN, KILLED, STUCK, PATIENT = 1001, 1002, 1003, 1004, 1005


def create(settings: Mapping[str, Any], folder: Path) -> Hosted:
    return Hosted("counting_engine", frozenset({"beam_width"}), settings, folder)


def stepper(settings: Mapping[str, Any], folder: Path) -> Counting:
    if (folder / "broken").exists():
        raise ValueError("no weights here")
    (folder / "turns").write_text(f"{sys.getswitchinterval()}\n")
    return Counting(settings["seconds"], folder)


class Counting:
    def __init__(self, seconds: float, folder: Path) -> None:
        self._seconds = seconds
        self._folder = folder
        self._running: dict[int, tuple[list[int], Sampling | None, int]] = {}
        self._steps = 0
        self._woken = threading.Event()

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def add(self, key: int, ids: Sequence[int], sampling: Sampling) -> None:
        if ids[0] == REFUSED:
            raise InvalidRequest("not this one")
        self._running[key] = (list(ids), sampling, 0)

    def score(self, key: int, ids: Sequence[int]) -> None:
        self._running[key] = (list(ids), None, 0)

    def abort(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._running.pop(key, None)

    def step(self) -> list[Progress]:
        if [ids[0] for ids, *_ in self._running.values()] == [PATIENT]:
            (self._folder / "waits").touch()
            self._woken.wait()
            self._woken.clear()
            return []
        time.sleep(self._seconds)
        self._steps += 1
        if self._steps == 1:
            with (self._folder / "turns").open("a") as file:
                file.write(f"{sys.getswitchinterval()}\n")
        return [self._one(key) for key in list(self._running)]

    def wake(self) -> None:
        self._woken.set()

    def gauges(self) -> Gauges:
        return Gauges(
            running=len(self._running), cache_used=len(self._running) / 100, prefix_hits=self._steps
        )

    def close(self) -> None:
        (self._folder / "closed").touch()

    def _one(self, key: int) -> Progress:
        ids, sampling, made = self._running[key]
        if sampling is None:
            del self._running[key]
            return Progress(key, log_probs=tuple(-float(one) for one in ids[1:]), finish_reason="stop")
        if made == 1:
            _happen(ids[0])
        token = ids[-1] + made + 1
        last = made + 1 == sampling.max_tokens
        if last:
            del self._running[key]
        else:
            self._running[key] = (ids, sampling, made + 1)
        top = ((token, -1.0),)
        return Progress(key, (token,), (-float(token),), "length" if last else None, tops=(top,))


def _happen(what: int) -> None:
    if what == BROKEN:
        raise RuntimeError("out of luck")
    if what == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == STUCK:
        time.sleep(1000)
