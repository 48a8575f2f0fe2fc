"""A door as a process, and the processor time that it took."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workbench import deployment, environment, memory

from doors.asking import MODEL

BENCHMARKS = Path(__file__).resolve().parents[1]
RELAY = Path(__file__).with_name("relay.py")
_LITELLM = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    # the stand-in says the same word again and again
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",
}
_READY = re.compile(r"READY\s+http://127\.0\.0\.1:(\d+)")
_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS_TO_END = 30
_SECONDS_TO_START = 180


@dataclass(frozen=True)
class Door:
    """One that runs on loopback."""

    name: str
    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Return what all its processes have taken so far, of users' time and of the system's."""
        return sum(_seconds(member) for member in memory.family(self.pid))

    def megabytes(self) -> float:
        return memory.megabytes(self.pid)["pss"]


@contextmanager
def gateway(grpc: str) -> Iterator[Door]:
    """Run `builder gateway` until the block ends; `grpc` is HOST:PORT of Triton."""
    command = deployment.builder("gateway", "--triton", f"grpc://{grpc}", "--port", "0")
    with _running("gateway", command) as door:
        yield door


@contextmanager
def relay(grpc: str) -> Iterator[Door]:
    """Run the tutorial's relay until the block ends."""
    with _running("relay", [sys.executable, str(RELAY), grpc]) as door:
        yield door


@contextmanager
def litellm(http: str) -> Iterator[Door]:
    """Run LiteLLM's proxy in front of Triton's generate_stream; `http` is HOST:PORT of Triton."""
    python = litellm_python()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        settings = Path(folder) / "settings.yaml"
        base = f"http://{http}/v2/models/{MODEL}/generate"
        model = {"model": f"triton/{MODEL}", "api_base": base}
        # JSON is a part of YAML
        settings.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": model}]}))
        command = [str(python.with_name("litellm")), "--config", str(settings), "--host", "127.0.0.1"]
        with _running("litellm", [*command, "--port", str(port)], port) as door:
            yield door


def litellm_python() -> Path:
    """Return the interpreter of LiteLLM's own environment, made when it is not there."""
    requirements = BENCHMARKS / "requirements-gateway-litellm.txt"
    return environment.ensure(BENCHMARKS / ".venv-gateway-litellm", requirements)


@contextmanager
def _running(name: str, command: list[str], port: int | None = None) -> Iterator[Door]:
    """Run a door until the block ends: one that says READY and its port, or one that answers on a port."""
    told = subprocess.DEVNULL if port else subprocess.PIPE
    settings = os.environ | _LITELLM if port else None
    process = subprocess.Popen(command, cwd=deployment.ROOT, stdout=told, text=True, env=settings)
    try:
        found = _wait(process, name, port) if port else _told(process, name)
        yield Door(name, found, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told(process: subprocess.Popen[str], name: str) -> int:
    """Return the port that a door says."""
    assert process.stdout is not None
    ready = _READY.search(process.stdout.readline())
    if ready is None:
        raise SystemExit(f"the {name} ended with code {process.wait()} before it was ready")
    return int(ready[1])


def _wait(process: subprocess.Popen[str], name: str, port: int) -> int:
    """Return the port of a door that says nothing, once it is taken."""
    end = time.monotonic() + _SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return port
        time.sleep(0.2)
    raise SystemExit(f"the {name} does not answer on port {port}, its exit code is {process.poll()}")


def _seconds(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it ended meanwhile
    return (int(after_name[11]) + int(after_name[12])) / _TICKS
