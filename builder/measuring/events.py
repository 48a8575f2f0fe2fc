"""Server-sent events over aiohttp, shared by the doors that speak HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from builder.measuring.door import Heard
from builder.measuring.errors import Refused, quoted

MOST_OF_AN_ERROR = 2000
SECONDS_IDLE = 4.0
"""Shorter than what servers wait (uvicorn 5 s): a request must not meet a connection that is closing."""


class Events:
    """Posts bodies and listens; connections are kept alive and are as many as there are requests."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {"Content-Type": "application/json", **headers}
        self._session: Any = None

    async def post(self, url: str, body: bytes, heard: Heard) -> None:
        """Append what arrives until the body ends; raise Refused for any status but 200."""
        import aiohttp

        if self._session is None:
            self._session = _session()
        while True:
            connection = SimpleNamespace(used_before=False)
            try:
                return await self._exchange(url, body, heard, connection)
            except (aiohttp.ClientError, OSError) as failure:
                # a server may close an idle connection at the moment it is used: that is no answer of its
                lost = isinstance(failure, aiohttp.ClientConnectionError)
                if heard or not (lost and connection.used_before):
                    raise Refused(_told(failure, url)) from None

    async def _exchange(self, url: str, body: bytes, heard: Heard, connection: SimpleNamespace) -> None:
        call = self._session.post(url, data=body, headers=self._headers, trace_request_ctx=connection)
        async with call as response:
            if response.status != 200:
                text = (await response.content.read(MOST_OF_AN_ERROR)).decode(errors="replace")
                raise Status(response.status, text)
            async for arrived in response.content.iter_any():
                heard.append((time.perf_counter(), arrived))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _session() -> Any:
    import aiohttp

    async def note(session: Any, context: Any, parameters: Any) -> None:
        context.trace_request_ctx.used_before = True

    reused = aiohttp.TraceConfig()
    reused.on_connection_reuseconn.append(note)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=SECONDS_IDLE),
        # the patience of a run is kept by its watch, not per request
        timeout=aiohttp.ClientTimeout(),
        trace_configs=[reused],
    )


class Status(Refused):
    """An answer other than 200; `text` is its body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {error_text(text)}")
        self.status, self.text = status, text


def _told(failure: Exception, url: str) -> str:
    import aiohttp

    if isinstance(failure, aiohttp.ClientResponseError) and not isinstance(failure, aiohttp.TooManyRedirects):
        return f"the server at {url} does not speak HTTP: {quoted(failure.message)}"
    return f"{type(failure).__name__}: {failure}" if str(failure) else f"{type(failure).__name__} at {url}"


def events(heard: Heard) -> Iterator[tuple[float, Any]]:
    """Yield each event's JSON (None for [DONE]) with the moment at which its line was complete.

    What is no JSON becomes an event of its own, an error.
    """
    rest = b""
    for seconds, arrived in heard:
        *lines, rest = (rest + arrived).split(b"\n")
        for line in lines:
            if (event := _event(line)) is not _NOTHING:
                yield seconds, event
    if heard and (event := _event(rest)) is not _NOTHING:
        yield heard[-1][0], event


_NOTHING = object()


def _event(line: bytes) -> Any:
    if not line.startswith(b"data:"):
        return _NOTHING
    data = line[5:].strip()
    if data == b"[DONE]":
        return None
    try:
        return json.loads(data)
    except ValueError:
        return {"error": f"an event that is no JSON: {data[:80].decode(errors='replace')}"}


def require_no_error(heard: Heard) -> None:
    """Raise Refused when an event is an error; it is the last that is said, so only the end is read."""
    if not heard:
        raise Refused("the answer ended without an event")
    end = b"".join(arrived for _, arrived in heard[-3:])
    if b'"error"' in end or b'"error"' in heard[-1][1]:
        for _, event in events(heard):
            if said := error_of(event):
                raise Refused(said)


def error_of(event: Any) -> str:
    """Return what an event says went wrong, "" for every other event."""
    return error_text(json.dumps(event)) if isinstance(event, dict) and event.get("error") else ""


def error_text(text: str) -> str:
    """Return the message in an error's body: {"error": "..."}, {"error": {"message": ...}}, or the text."""
    try:
        # Triton puts even the body of a refusal into an event
        found = json.loads(text.strip().removeprefix("data:"))
        found = found.get("error", found.get("detail", found))
        found = found.get("message", found) if isinstance(found, dict) else found
    except (ValueError, AttributeError):
        return text.strip()
    return found if isinstance(found, str) else json.dumps(found)
