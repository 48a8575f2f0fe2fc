"""The script of scripted_engine.py in a process of its own, all sequences stepped at once."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.engine.scripted import DEADLY, Script

from backends.engine.grammars import Compiler
from backends.engine.guided import Guided
from backends.engine.hosted import Hosted
from backends.engine.protocol import InvalidRequest, Sampling
from backends.engine.sampling import Sampler, log_probability
from backends.engine.stepper import Gauges, Progress

UNSUPPORTED = frozenset({"beam_width", "length_penalty"})


def create(settings: Mapping[str, Any], folder: Path) -> Hosted:
    return Hosted("hosted_script", UNSUPPORTED, settings, folder)


def stepper(settings: Mapping[str, Any], folder: Path) -> Steps:
    arguments = settings["engine_arguments"]
    script = Script(arguments["vocabulary"], arguments["spoken"], settings["end_ids"][0])
    compiler = Compiler(folder / "tokenizer" / "tokenizer.json")
    return Steps(script, compiler, arguments["step_seconds"], settings["max_active"])


@dataclass
class _Sequence:
    ids: list[int]
    sampler: Sampler
    adapter: str


class Steps:
    def __init__(self, script: Script, compiler: Compiler, seconds: float, most: int) -> None:
        self._script = script
        self._compiler = compiler
        self._seconds = seconds
        self._most = most
        self._running: dict[int, _Sequence] = {}
        self._scored: list[Progress] = []

    @property
    def busy(self) -> bool:
        return bool(self._running or self._scored)

    def add(self, key: int, ids: Sequence[int], sampling: Sampling) -> None:
        if len(ids) == DEADLY:
            os._exit(7)
        sampler = Sampler(sampling, ids, self._guided(sampling))
        self._running[key] = _Sequence(list(ids), sampler, sampling.adapter)

    def _guided(self, sampling: Sampling) -> Guided | None:
        if sampling.guide is None:
            return None
        return Guided(self._compiler.compile(sampling.guide), self._compiler.tokens, sampling.end_ids)

    def score(self, key: int, ids: Sequence[int]) -> None:
        found = [
            log_probability(self._script.logits(ids[:place]), ids[place]) for place in range(1, len(ids))
        ]
        self._scored.append(Progress(key, log_probs=tuple(found), finish_reason="stop"))

    def abort(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._running.pop(key, None)

    def step(self) -> list[Progress]:
        time.sleep(self._seconds)
        made, self._scored = self._scored, []
        return [*made, *(self._one(key) for key in list(self._running)[: self._most])]

    def wake(self) -> None:
        """Wait for nothing but the time that a step takes."""

    def gauges(self) -> Gauges:
        return Gauges(running=min(self._most, len(self._running)))

    def close(self) -> None:
        """Hold nothing that would have to be freed."""

    def _one(self, key: int) -> Progress:
        one = self._running[key]
        try:
            step = one.sampler.step(self._script.logits(one.ids, one.adapter))
        except InvalidRequest as error:
            del self._running[key]
            return Progress(key, failure=("InvalidRequest", str(error)))
        one.ids += step.ids
        if step.finish_reason:
            del self._running[key]
        return Progress(key, step.ids, step.log_probs, step.finish_reason, tops=step.tops)
