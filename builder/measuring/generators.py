"""Load generators that ask as one: a single process in Python hears some 20,000 responses a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from builder.measuring import statistics, told
from builder.measuring.generator import Generator
from builder.measuring.task import Load, Task, shared


class Together:
    """Use it as a context manager; leaving the block ends all processes, whatever they are doing."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._generators = [Generator(one) for one in tasks]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for generator in self._generators:
                stack.enter_context(generator)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def hear(self, load: Load, name: str, progress: Callable[[float], None]) -> list[told.Told]:
        """Put a load on the server, shared by all, and return what each heard. Raises MeasureError."""
        shares = shared(load, len(self._generators))
        if len(shares) == 1:
            return [self._generators[0].run(load, name, progress)]
        done = [0.0] * len(shares)

        def one(number: int) -> told.Told:
            def heard(share: float) -> None:
                done[number] = share
                progress(min(done))

            return self._generators[number].run(shares[number], f"{name}.{number}", heard)

        with ThreadPoolExecutor(len(shares)) as pool:
            return list(pool.map(one, range(len(shares))))


class Generators(Together):
    """Processes of one task, each through the prompts in an order of its own."""

    def __init__(self, task: Task, processes: int) -> None:
        super().__init__(replace(task, seed=task.seed + number) for number in range(processes))
        self._streams = task.asking.streams

    def run(self, load: Load, name: str, progress: Callable[[float], None]) -> dict[str, Any]:
        """Put a load on the server and return its figures; `name` makes marks. Raises MeasureError."""
        parts = self.hear(load, name, progress)
        return statistics.describe(parts[0] if len(parts) == 1 else told.joined(parts), streams=self._streams)
