"""The command line in processes of its own, and the answers of what it serves by Triton's own clients."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

ROOT = Path(__file__).resolve().parents[2]
DOORS = ("grpc", "http")

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Shell:
    """Runs `builder` with a cache of its own, by this interpreter or by that of another environment."""

    cache: Path
    python: str = sys.executable
    from_source: bool = True

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            self._command(arguments), env=self._environment(), capture_output=True, text=True, check=False
        )

    def build(self, *arguments: str | Path) -> str:
        """Build something, which must succeed; return what was printed."""
        done = self.run("build", *arguments)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, repository: Path) -> Iterator[Addresses]:
        """Serve on free ports until the end of the block; stopped by SIGTERM, which must end it well."""
        ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
        process = subprocess.Popen(
            self._command(["serve", str(repository), *ports, "--exit-timeout", "10"]),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready = next((line for line in process.stdout if line.startswith("READY")), "")
            found = re.search(r"http://(\S+)\s+grpc://(\S+)", ready)
            if found is None:
                raise AssertionError(process.communicate(timeout=60)[1])
            yield Addresses(*found.groups())
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said

    def _command(self, arguments: Sequence[str | Path]) -> list[str]:
        return [self.python, "-m", "builder", *map(str, arguments)]

    def _environment(self) -> dict[str, str]:
        source = {"PYTHONPATH": str(ROOT)} if self.from_source else {}
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**kept, **source, "BUILDER_CACHE": str(self.cache), "COLUMNS": "120"}


@dataclass(frozen=True)
class Addresses:
    """Where a server answers, HOST:PORT."""

    http: str
    grpc: str

    def ask(self, door: str, model: str, classes: Mapping[str, int] | None = None, **inputs: Any) -> Arrays:
        """Ask one request by `grpc` or `http`; return its outputs.

        Args:
            door: one of DOORS.
            model: the front.
            classes: output -> how many of its classes are wanted, by Triton's classification extension.
            inputs: arrays, or lists of texts (STRING [n,1]).
        """
        client = getattr(tritonclient, door)
        with client.InferenceServerClient(getattr(self, door)) as server:
            wanted = [client.InferRequestedOutput(name, class_count=n) for name, n in (classes or {}).items()]
            answer = server.infer(model, tensors(client, inputs), outputs=wanted or None)
            told = answer.get_response() if door == "http" else answer.get_response(as_json=True)
            return {one["name"]: answer.as_numpy(one["name"]) for one in told["outputs"]}

    def together(self, model: str, requests: Sequence[Mapping[str, Any]]) -> list[Arrays]:
        """Send all requests before the first answer is awaited; return their outputs in the same order."""
        client = tritonclient.grpc
        with client.InferenceServerClient(self.grpc) as server:
            from concurrent.futures import Future

            futures: list[Future[Any]] = [Future() for _ in requests]

            def done(future: Future[Any]) -> Any:
                return lambda result, error: (
                    future.set_exception(error) if error else future.set_result(result)
                )

            for future, inputs in zip(futures, requests, strict=True):
                server.async_infer(model, tensors(client, inputs), done(future))
            answers = [future.result(timeout=60) for future in futures]
            return [
                {one.name: answer.as_numpy(one.name) for one in answer.get_response().outputs}
                for answer in answers
            ]


def texts(*values: str | bytes) -> Any:
    """Return a STRING tensor [n,1], one row for each."""
    return np.array([value.encode() if isinstance(value, str) else value for value in values], object)[
        :, None
    ]


def tensors(client: Any, inputs: Mapping[str, Any]) -> list[Any]:
    """Return a client's inputs of arrays or of lists of texts."""
    found = []
    for name, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else texts(*value)
        kind = client.InferInput(name, list(array.shape), tritonclient.utils.np_to_triton_dtype(array.dtype))
        kind.set_data_from_numpy(array)
        found.append(kind)
    return found
