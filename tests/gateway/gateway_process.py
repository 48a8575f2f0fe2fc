"""`builder gateway` as a process, and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Gateway:
    """One that runs: HOST:PORT, and the process."""

    address: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://{self.address}/v1"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] = JSON
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of one request."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return (
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        status, _, body = self.request("POST", path, json.dumps(fields).encode())
        return status, json.loads(body)

    def refusal(self, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Return status and error of a request, which must have OpenAI's shape."""
        status, told = self.post(path, **fields)
        return status, error_of(told)

    def get(self, path: str) -> tuple[int, Any]:
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    @contextmanager
    def started(self, path: str, **fields: Any) -> Iterator[http.client.HTTPConnection]:
        """Send a request without waiting for its answer; leaving the block closes the connection."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("POST", path, json.dumps(fields).encode(), JSON)
        socket_of = connection.sock
        try:
            yield connection
        finally:
            with suppress(OSError):
                socket_of.shutdown(socket.SHUT_RDWR)
            connection.close()

    @contextmanager
    def streaming(self, path: str, **fields: Any) -> Iterator[http.client.HTTPResponse]:
        """Give the response to a streamed request; leaving the block closes the connection."""
        with self.started(path, stream=True, **fields) as connection, connection.getresponse() as response:
            yield response


def error_of(told: Any) -> dict[str, Any]:
    assert list(told) == ["error"], told
    assert list(told["error"]) == ["message", "type", "param", "code"], told
    assert told["error"]["message"]
    return dict(told["error"])


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    """Yield the JSON of each event, "[DONE]", and comments as they are."""
    for line in response:
        text = line.decode().strip()
        if text.startswith("data: "):
            yield text[6:] if text == "data: [DONE]" else json.loads(text[6:])
        elif text:
            yield text


@contextmanager
def running(
    grpc: str, *options: str, last_words: str = "", before: Callable[[], None] | None = None
) -> Iterator[Gateway]:
    """Run a gateway in front of a Triton until the end of the block.

    SIGTERM must end it well and without a word on stderr but `last_words`, unless the test has killed it.
    What is to be done `before` is done in its process.
    """
    words = ["gateway", "--triton", f"grpc://{grpc}", "--port", "0", *options]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    try:
        assert process.stdout is not None
        ready = re.match(r"READY  https?://(\S+)  triton grpc://(\S+)\n", process.stdout.readline())
        assert ready, process.communicate(timeout=30)
        assert ready[2] == grpc
        yield Gateway(ready[1], process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), said
        assert last_words in said and len(said.splitlines()) == len(last_words.splitlines()), said
    finally:
        process.kill()
        process.wait()
