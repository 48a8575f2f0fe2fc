"""A client that sends whatever bytes it is told to, and what a process takes of the machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway_process import Gateway

CHAT = "/v1/chat/completions"


@contextmanager
def connected(gateway: Gateway, seconds: float = 30) -> Iterator[socket.socket]:
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as opened:
        yield opened


def head(path: str = CHAT, *lines: str, method: str = "POST") -> bytes:
    """Return the head of a request, the empty line included."""
    kind = ["Content-Type: application/json"] if method == "POST" else []
    told = [f"{method} {path} HTTP/1.1", "Host: x", *kind, *lines]
    return "\r\n".join([*told, "", ""]).encode("latin-1")


def request(body: Any, path: str = CHAT) -> bytes:
    """Return a whole request."""
    data = json.dumps(body).encode()
    return head(path, f"Content-Length: {len(data)}") + data


def answer(opened: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the next response that has a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(opened)
    told, _, body = data.partition(b"\r\n\r\n")
    first, *lines = told.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(opened)
    return int(first.split()[1]), headers, body


def _more(opened: socket.socket) -> bytes:
    data = opened.recv(65536)
    assert data, "the connection was closed before the end of a response"
    return data


def is_closed(opened: socket.socket) -> bool:
    """Wait until the other side closes, and say whether it did so without another byte."""
    try:
        return opened.recv(1) == b""
    except ConnectionError:
        return True


def resident(process: int) -> float:
    """Return the memory that a process has, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def files(process: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))
