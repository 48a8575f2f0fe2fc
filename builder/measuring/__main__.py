"""The load generator: a Task and then Loads come in as lines of JSON, what was measured goes out so."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from builder.measuring import bodies, load, prompts, told
from builder.measuring.task import Asking, Load, Task

SECONDS_BETWEEN_REPORTS = 0.2


def main() -> None:
    """Serve the parent until it closes the pipe or is gone."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    fields = json.loads(sys.stdin.readline() or "null")
    if fields is None:
        return
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    _allow_many_connections()
    asking = Asking(**fields.pop("asking"))
    asyncio.run(_serve(Task(asking=asking, **fields), lines))


def _listen(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    # nobody is left to report to; a request in flight must not keep us
    os._exit(0)


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(task: Task, lines: queue.SimpleQueue[str]) -> None:
    asking = task.asking
    file = asking.door if asking.streams else f"{asking.door}_infer"
    door = importlib.import_module(f"builder.measuring.doors.{file}").create(asking)
    asked: Sequence[Any] = task.prompts
    if not asking.streams:
        asked = [door.prepare(inputs, marks=bool(task.salt)) for inputs in task.prompts]
    loop = asyncio.get_running_loop()
    while True:
        order = json.loads(await loop.run_in_executor(None, lines.get))
        _say({"measured": await _measured(task, door, asked, Load(**order["load"]), order["run"])})


async def _measured(
    task: Task, door: Any, asked: Sequence[Any], wanted: Load, name: str
) -> Mapping[str, Any]:
    gc.collect()
    gc.disable()  # a pause of ours would be the server's latency
    before = time.process_time()
    marked = prompts.marked if task.asking.streams else bodies.marked
    order = prompts.Order(asked, task.seed, task.salt, name, marked)
    run = await load.run(wanted, door, order, task.seed, task.patience, _Progress())
    cpu = time.process_time() - before
    gc.enable()
    return told.of(run, door, cpu).to_json()


class _Progress:
    """Tells the parent how far a run is, not more often than anyone can see."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_REPORTS
            _say({"progress": share})


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
