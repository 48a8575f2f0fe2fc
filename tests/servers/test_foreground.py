"""`serve` in the foreground: signals, streams in flight, and a Triton that dies by itself."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.serving import rest

Repository = Callable[..., Path]
pytestmark = pytest.mark.triton

PROGRAM = """
import signal
import sys
from pathlib import Path
from builder.errors import BuilderError
from builder.serve import serve
from builder.server import Options
from builder.signals import as_exit

# where tests run under nohup a hang-up would be ignored here, too
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def say(text):
    print(text, file=sys.stderr, flush=True)

try:
    with as_exit():  # as the command line does
        code = serve(
            Path(sys.argv[1]),
            options=Options(log=Path(sys.argv[2]), exit_timeout=20),
            ready=lambda server: print(server.http, server.grpc, server.pid, flush=True),
            say=say,
        )
except BuilderError as error:
    say(error.sentence())
    code = error.exit_code
sys.exit(code)
"""
PARTS = [f"part {index}" for index in range(8)]


@contextmanager
def foreground(repository: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(repository), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def addresses(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    assert process.stdout is not None
    http, grpc, pid = process.stdout.readline().split()
    return http, grpc, int(pid)


def stream_over_http(http: str, seen: queue.Queue[Any]) -> None:
    for event in rest.stream(http, "/v2/models/slow/generate_stream", {"text_input": "a"}, timeout=60):
        seen.put(event.get("text_output", event))
    seen.put(None)


def stream_over_grpc(grpc: str, seen: queue.Queue[Any]) -> None:
    import numpy
    import tritonclient.grpc as client

    finished = threading.Event()

    def receive(result: Any, error: Any) -> None:
        seen.put(error or result.as_numpy("text_output")[0].decode())
        if error or seen.qsize() >= len(PARTS):
            finished.set()

    with client.InferenceServerClient(grpc) as server:
        server.start_stream(receive)
        text = client.InferInput("text_input", [1], "BYTES")
        text.set_data_from_numpy(numpy.array([b"a"], dtype=object))
        server.async_stream_infer("slow", [text])
        finished.wait(60)
        server.stop_stream()
    seen.put(None)


def everything(seen: queue.Queue[Any]) -> list[Any]:
    return list(iter(lambda: seen.get(timeout=60), None))


@pytest.mark.parametrize(
    ("door", "stop"),
    [
        pytest.param("http", signal.SIGTERM, id="http-SIGTERM"),
        pytest.param("grpc", signal.SIGINT, id="grpc-Ctrl-C"),
        pytest.param("grpc", signal.SIGTERM, id="grpc-SIGTERM", marks=pytest.mark.slow),
        pytest.param("http", signal.SIGINT, id="http-Ctrl-C", marks=pytest.mark.slow),
        pytest.param("http", signal.SIGHUP, id="http-hang-up", marks=pytest.mark.slow),
        pytest.param("grpc", signal.SIGHUP, id="grpc-hang-up", marks=pytest.mark.slow),
    ],
)
def test_a_stream_in_flight_finishes(
    repository: Repository, clean: Path, door: str, stop: signal.Signals
) -> None:
    with foreground(repository("slow"), clean) as process:
        http, grpc, _ = addresses(process)
        seen: queue.Queue[Any] = queue.Queue()
        stream, address = (stream_over_http, http) if door == "http" else (stream_over_grpc, grpc)
        client = threading.Thread(target=stream, args=(address, seen))
        client.start()
        while seen.empty():
            time.sleep(0.01)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
        client.join()
        assert everything(seen) == PARTS
        assert process.returncode == 0
        assert errors.startswith("stopping: requests in flight have 20 s to finish")


def test_a_server_does_not_outlive_a_program_that_is_killed(repository: Repository, clean: Path) -> None:
    with foreground(repository("adder", "slow"), clean) as process:
        _, _, pid = addresses(process)
        process.kill()
        process.wait()
        end = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)  # then its files are removed
        assert not Path(f"/proc/{pid}").exists()
    # the log may say why: it stays, alone
    for folder in (clean.parent / "temporary").iterdir():
        assert list(folder.iterdir()) == []
        folder.rmdir()


def test_a_second_signal_ends_it_at_once(repository: Repository, clean: Path) -> None:
    folder = repository("slow")
    model = folder / "slow" / "1" / "model.py"
    model.write_text(model.read_text().replace("0.25", "1 if index else 0.1"))
    with foreground(folder, clean) as process:
        http, _, _ = addresses(process)
        seen: queue.Queue[Any] = queue.Queue()
        client = threading.Thread(target=_ignore_errors, args=(stream_over_http, http, seen))
        client.start()
        while seen.empty():
            time.sleep(0.01)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("stopping")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        client.join()
        assert len(everything(seen)) < len(PARTS)
        assert process.returncode == 1
        assert "requests may have been cut off" in errors


def _ignore_errors(stream: Callable[..., None], address: str, seen: queue.Queue[Any]) -> None:
    try:
        stream(address, seen)
    except (OSError, ValueError):
        seen.put(None)


def test_a_signal_during_the_boot_leaves_nothing(repository: Repository, clean: Path) -> None:
    folder = repository("adder")
    code = (
        "import time\nclass TritonPythonModel:\n    def execute(self, requests): ...\n    time.sleep(300)\n"
    )
    (folder / "adder" / "1" / "model.py").write_text(code)
    with foreground(folder, clean) as process:
        while not clean.exists() or "loading: adder:1" not in clean.read_text():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "stopped during the boot; no server is left running" in errors


def test_a_triton_that_dies_by_itself_is_exit_code_1(repository: Repository, clean: Path) -> None:
    with foreground(repository("adder"), clean) as process:
        _, _, pid = addresses(process)
        os.kill(pid, signal.SIGABRT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Triton ended by itself (exit code -6); its last words:" in errors
        assert "Started HTTPService" in errors
        assert str(clean) in errors
