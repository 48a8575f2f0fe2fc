"""A progress bar on stderr, silent when stderr is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """Call it with what is being done and the share done, 0 to 1; stages follow one another.

    What follows a comma is said of the same stage.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            if kind is None and self._task is not None:
                self._bar.update(self._task, completed=1.0)
            self._bar.stop()

    def __call__(self, doing: str, share: float) -> None:
        if not self._bar:
            return
        stage, _, more = doing.partition(",")
        if stage != self._stage:
            if self._task is not None:
                self._bar.update(self._task, completed=1.0)
            self._task = self._bar.add_task(doing, total=1.0)
            self._stage = stage
        if more:
            self._bar.update(self._task, description=doing)
        self._bar.update(self._task, completed=share)
