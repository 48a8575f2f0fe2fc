"""The load generator as its parent sees it: a child process that is given loads and gives back figures."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

from builder import child
from builder.measuring import told
from builder.measuring.errors import MeasureError
from builder.measuring.task import Load, Task
from builder.measuring.told import Told

SECONDS_TO_END = 5.0


class Generator:
    """Use it as a context manager; leaving the block ends the process, whatever it is doing."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._noise: IO[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._noise = tempfile.TemporaryFile("w+")
        # a session of its own: Ctrl-C reaches us, and we end it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "builder.measuring"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._write(asdict(self._task))
        return self

    def run(self, load: Load, name: str, progress: Callable[[float], None]) -> Told:
        """Put a load on the server; `name` makes the marks of its prompts. Raises MeasureError."""
        self._write({"load": asdict(load), "run": name})
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "measured" in said:
                return told.from_json(said["measured"])
            progress(float(said["progress"]))
        raise self._death()

    def _write(self, value: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> MeasureError:
        assert self._process is not None and self._noise is not None
        code = self._process.wait()
        self._noise.seek(0)
        words = "\n".join(self._noise.read().splitlines()[-8:])
        return MeasureError(
            f"the load generator ended with code {code}:\n{words}",
            remedy="with code -9 this machine had no memory left for it; else report this",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        child.end(process, SECONDS_TO_END)
        for stream in (process.stdin, process.stdout, self._noise):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # what it had not read yet is of no use now
