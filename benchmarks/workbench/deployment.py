"""A deployment as its user starts it: `builder build`, then `builder serve` in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "smollm2"
_READY = re.compile(r"READY\s+http://(\S+)\s+grpc://(\S+)\s+metrics http://(\S+)/metrics")
_SECONDS_TO_END = 60


@dataclass(frozen=True)
class Deployment:
    """Where it listens ("host:port"), its first process, and the moment at which that was started."""

    repository: Path
    http: str
    grpc: str
    metrics: str
    pid: int
    started: float

    @property
    def model(self) -> Path:
        """Return the folder of the artifact that it serves."""
        return self.repository / NAME / "1" / "model"

    @property
    def tokenizer(self) -> Path:
        return tokenizer(self.repository)


def tokenizer(repository: Path) -> Path:
    """Return the tokenizer's folder in a repository."""
    return repository / NAME / "1" / "tokenizer"


def builder(*arguments: str) -> list[str]:
    """Return the command line of `builder ...` in this interpreter."""
    return [sys.executable, "-m", "builder", *arguments]


def build(folder: Path) -> Path:
    """Build the model into a folder and return it; seconds when the cache has the conversion."""
    done = subprocess.run(
        builder("build", NAME, "--no-verify", "--lock", "none", "--output", str(folder)),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"`builder build` failed:\n{done.stdout}{done.stderr}")
    return folder


def read_ready(line: str) -> tuple[str, str, str] | None:
    """Return the addresses in the line that `builder serve` prints, None when it is another line."""
    found = _READY.search(line)
    return None if found is None else (found[1], found[2], found[3])


@contextmanager
def serve(repository: Path, *, exit_timeout: int = 5, more: Sequence[str] = ()) -> Iterator[Deployment]:
    """Serve a repository on free ports, with `more` options, until the block ends."""
    started = time.perf_counter()
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = builder("serve", str(repository), *ports, "--exit-timeout", str(exit_timeout), *more)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            addresses = read_ready(line)
            if addresses:
                break
        else:
            raise SystemExit(f"`builder serve` ended with code {process.wait()} before it was ready")
        yield Deployment(repository, *addresses, pid=process.pid, started=started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_token(deployment: Deployment, messages: list[dict[str, str]]) -> float:
    """Stream one chat over HTTP and return the `time.perf_counter()` moment of its first token."""
    from builder.triton_client import HttpStream

    fields = {"messages": json.dumps(messages), "max_tokens": 16, "stream": True}
    path = f"/v2/models/{NAME}/generate_stream"
    first = 0.0
    with HttpStream(deployment.http, path, json.dumps(fields).encode(), 60) as stream:
        for event in stream.events():
            if "error" in event:
                raise SystemExit(f"the first chat was answered with an error: {event['error']}")
            first = first or time.perf_counter()
    return first


def metrics(deployment: Deployment, name: str = NAME) -> dict[str, float]:
    """Return the samples of the metrics endpoint that concern a model, labels left out."""
    from builder.triton_client import Client

    client = Client(deployment.http, deployment.grpc, deployment.metrics, {})
    samples = client.metrics().items()
    return {family: value for (family, labels), value in samples if f'"{name}"' in labels}


def measure(*arguments: str) -> dict[str, Any]:
    """Run `builder measure ... --json` and return its document; an error ends the script."""
    command = builder("measure", *arguments, "--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command[1:])}` failed:\n{done.stderr}{done.stdout[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document
