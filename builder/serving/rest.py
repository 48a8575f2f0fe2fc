"""Plain HTTP to a Triton: what tritonclient has no call for, and what must not wait for its import."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any


def call(address: str, method: str, path: str, *, body: Any = None, timeout: float = 10.0) -> tuple[int, Any]:
    """Return (status, parsed JSON or text); raise OSError or HTTPException when nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        response = _request(connection, method, path, body)
        text = response.read().decode(errors="replace")
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except json.JSONDecodeError:
        return response.status, text


def stream(address: str, path: str, body: Any, *, timeout: float) -> Iterator[Any]:
    """Yield the JSON events of a `generate_stream`; an answer that is no stream is one event.

    Closing the iterator early closes the connection, which Triton takes as a disconnect.
    """
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        response = _request(connection, "POST", path, body)
        if response.status != 200:
            yield {"error": _error_text(response.read().decode(errors="replace"))}
            return
        for line in response:
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))
    finally:
        connection.close()


def is_live(address: str, *, timeout: float = 2.0) -> bool:
    """Return whether a Triton answers its liveness call at `host:port`."""
    try:
        return call(address, "GET", "/v2/health/live", timeout=timeout)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def repository_index(address: str) -> list[dict[str, str]]:
    """Return Triton's own list of models: name, and once it was loaded version, state and reason."""
    status, index = call(address, "POST", "/v2/repository/index")
    if status != 200 or not isinstance(index, list):
        raise http.client.HTTPException(f"the repository index answered {status}: {index}")
    return index


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any
) -> http.client.HTTPResponse:
    # An idle connection that is kept alive makes Triton's shutdown wait its whole exit timeout.
    headers = {"Connection": "close", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    return connection.getresponse()


def _error_text(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return text
