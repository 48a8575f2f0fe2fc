"""Measure: put a load on a served model and write down how fast it answers.

Each run is warmed up by requests that are reported nowhere, asks prompts that no cache has seen, and
takes Triton's own counters before and after. Who asks is a process of its own (`measuring/`).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.errors import BuilderError, Interrupted
from builder.measuring import counters, machine
from builder.measuring.asks import GOLDEN, TEXT
from builder.measuring.errors import MeasureError, unanswered
from builder.measuring.generators import Generators
from builder.measuring.place import Place
from builder.measuring.task import Load, Task

SCHEMA = "builder.measurement/1"
FEWEST = 16
ROUNDS = 4
SECONDS_OF_ARRIVALS = 30
SECONDS_OF_PASSES = 5.0
"""Of a model that answers once: as many requests as fit, they may take a millisecond or a second."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    """How to measure.

    Args:
        loads: one run each; those without `requests` and `seconds` get a number that suits them.
        repeats: how often all of them are run, one after the other, so that runs can be paired.
        warm_up: requests before every run, None for one per worker.
        output_tokens: of every answer of a model that streams.
        prompts: a file of JSON lines, None for what suits the model.
        seed: fixes order, arrivals and marks; None: order and arrivals of seed 0, marks never seen before.
        marked: whether each prompt begins with a mark of its own, so that no cache knows it. Golden answers
            are asked as they stand: a mark could make a text too long that the model was proven with.
        patience: seconds without a response after which a request is given up.
        processes: how many ask, where one would be slower than the server.
    """

    loads: tuple[Load, ...]
    repeats: int = 1
    warm_up: int | None = None
    output_tokens: int = 128
    prompts: Path | None = None
    seed: int | None = None
    marked: bool = True
    patience: float = 60.0
    processes: int = 1


@dataclass(frozen=True)
class Measurement:
    """What was measured; `runs` hold one entry per load and repeat. `ended_early` says why some lack."""

    name: str
    door: str
    url: str
    command: str
    date: str
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]
    ended_early: BuilderError | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; docs/measure.md says what every figure means."""
        fields = {name: value for name, value in vars(self).items() if name != "ended_early"}
        early = {"ended_early": self.ended_early.found} if self.ended_early else {}
        return {"schema": SCHEMA, **fields, "runs": list(self.runs), **early}


def measure(place: Place, options: Options, *, command: str = "", progress: Progress) -> Measurement:
    """Run every load as often as asked and return what came of it.

    When a server dies, or Ctrl-C or SIGTERM comes, what was measured before is returned with `ended_early`.
    Raises MeasureError or Interrupted when that is nothing.
    """
    asked, origin = place.prompts(options.prompts)
    loads = [_sized(load, place.asking.streams) for load in options.loads]
    task = Task(place.asking, asked, options.seed or 0, _salt(place, options, origin), options.patience)
    runs: list[Mapping[str, Any]] = []
    early: BuilderError | None = None
    plan = [(repeat, load) for repeat in range(options.repeats) for load in loads]
    try:
        with Generators(task, options.processes) as generator:
            for number, (repeat, load) in enumerate(plan):
                step = _step(progress, load, number, len(plan))
                measured = _run(generator, place, load, number, options, step)
                runs.append({"load": load.to_json(), "repeat": repeat, **measured})
                _require_answers(runs[-1], load)
    except (KeyboardInterrupt, SystemExit) as ending:
        early = _interrupted(ending, f"interrupted: {len(runs)} of {len(plan)} runs were measured")
    except MeasureError as error:
        early = error
    if early and not runs:
        raise early
    return Measurement(
        place.name,
        place.asking.door,
        place.url,
        command,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine.describe(),
        _settings(task, options, loads, origin),
        tuple(runs),
        early,
    )


def _salt(place: Place, options: Options, origin: str) -> str:
    """Return what makes the marks of this measurement its own, "" when requests get none."""
    takes = place.asking.streams or (origin != GOLDEN and TEXT in place.asking.inputs)
    if not (options.marked and takes):
        return ""
    return str(options.seed) if options.seed is not None else secrets.token_hex(8)


def _settings(task: Task, options: Options, loads: list[Load], origin: str) -> dict[str, Any]:
    streams = task.asking.streams
    warm_up = "one per worker" if streams else f"one per worker, at least {FEWEST}"
    return {
        **({"output_tokens": options.output_tokens} if streams else {}),
        "warm_up": warm_up if options.warm_up is None else options.warm_up,
        "prompts": origin,
        "seed": options.seed,
        "salt": task.salt,
        "patience_seconds": options.patience,
        "processes": options.processes,
        "kept_up": all(load.kept_up for load in loads),
        "seconds": loads[0].seconds if loads else 0.0,
        "repeats": options.repeats,
        "model": task.asking.model,
        "fields": dict(task.asking.fields),
    }


def _interrupted(ending: KeyboardInterrupt | SystemExit, found: str) -> Interrupted:
    early = Interrupted(found)
    if isinstance(ending, SystemExit) and isinstance(ending.code, int):
        early.exit_code = ending.code  # as `signals` chose it
    return early


def _sized(load: Load, streams: bool) -> Load:
    if load.requests or load.seconds:
        return load
    if load.kind == "closed" and not streams:
        return replace(load, seconds=SECONDS_OF_PASSES)
    wanted = (
        ROUNDS * load.concurrency if load.kind == "closed" else math.ceil(SECONDS_OF_ARRIVALS * load.rate)
    )
    return replace(load, requests=max(FEWEST, wanted))


def _step(progress: Progress, load: Load, number: int, count: int) -> Callable[[float], None]:
    def step(share: float) -> None:
        progress(f"measuring {load.title()} ({number + 1} of {count})", share)

    return step


def _run(
    generator: Generators,
    place: Place,
    load: Load,
    number: int,
    options: Options,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    progress(0.0)
    workers = load.concurrency or 1
    least = 2 if place.asking.streams else FEWEST
    count = max(workers, least) if options.warm_up is None else options.warm_up
    if count:
        warm = Load("closed", concurrency=min(workers, count), requests=count, kept_up=False)
        warmed = generator.run(warm, f"warm-up {number}", lambda share: None)
        if warmed["errors"] == warmed["requests"]:
            raise unanswered(warmed, f"the {count} requests before the run with {load.title()}")
    before = place.batches()
    measured = generator.run(load, f"run {number}", progress)
    return {
        **measured,
        "mean_batch_size": counters.means(before, place.batches()),
        "memory": place.memory(),
    }


def _require_answers(run: Mapping[str, Any], load: Load) -> None:
    if run.get("gave_up") or run["errors"] == run["requests"]:
        raise unanswered(run, f"the {run['requests']} requests with {load.title()}")
