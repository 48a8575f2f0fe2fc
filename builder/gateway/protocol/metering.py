"""GET /metrics: what this gateway did, in Prometheus' text form (prometheus.io/docs/instrumenting).

Every process of a gateway tells what all of them did: beyond one they share files, prometheus_client's
multiprocess mode, which `PROMETHEUS_MULTIPROC_DIR` names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from builder.gateway import notes
from builder.gateway.notes import Notes

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
"""In the place of a path that is none of the gateway's: anyone may ask for any."""
WRITE = "builder.write"
"""In the scope of a request: what sends a piece of a stream past all that stands around an endpoint."""
STREAMS = (b"text/event-stream", b"application/x-ndjson")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Meters:
    """The figures of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        prefix = "builder_gateway"
        self.requests = Counter(
            f"{prefix}_requests", "requests answered", ("path", "model", "status"), registry=registry
        )
        self.tokens = Counter(
            f"{prefix}_tokens", "tokens of prompts and answers", ("model", "kind"), registry=registry
        )
        self.first = Histogram(
            f"{prefix}_time_to_first_token_seconds",
            "from a request's arrival to the first event of its stream",
            ("model",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.streams = Gauge(
            f"{prefix}_streams_open",
            "streams under way",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.routed = Counter(
            f"{prefix}_routed", "requests that a route led to a model", ("route", "model"), registry=registry
        )
        self.fallbacks = Counter(
            f"{prefix}_fallbacks",
            "requests that went on from a model which could not answer",
            ("route", "model"),
            registry=registry,
        )
        self.returns = Counter(
            f"{prefix}_canary_returns", "canaries taken back", ("route", "model"), registry=registry
        )
        self._collectors: list[Any] = []

    def add(self, collector: Any) -> None:
        """Tell what a collector of prometheus_client tells too, which knows it of all processes."""
        self._collectors.append(collector)

    def take_back(self, route: str, model: str) -> None:
        """Count a canary that was taken back."""
        self.returns.labels(route, model).inc()

    def text(self) -> bytes:
        """Return all of it, of all processes."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        told = CollectorRegistry()
        if FOLDER in os.environ:
            _forget_dead(os.environ[FOLDER])
            multiprocess.MultiProcessCollector(told)  # type: ignore[no-untyped-call]
        else:
            told.register(self._registry)
        for collector in self._collectors:
            told.register(collector)
        return generate_latest(told)


def shared(name: str) -> Path | None:
    """Return a file for figures of all processes, None for a gateway of one."""
    return Path(os.environ[FOLDER]) / name if FOLDER in os.environ else None


def _forget_dead(folder: str) -> None:
    """Have the streams of processes that are no more not counted as open."""
    from prometheus_client import multiprocess

    for path in Path(folder).glob("gauge_live*_*.db"):
        process = int(path.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(process, folder)  # type: ignore[no-untyped-call]


class Watch:
    """One request under way: what is sent for it is looked at until the first event of a stream."""

    def __init__(self, meters: Meters, path: str, noted: Notes, send: Send) -> None:
        self._meters = meters
        self._noted = noted
        self._path = path
        self._send = send
        self._begun = time.monotonic()
        self._looks = True
        self._streams = False
        self._status = 500

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; no coroutine of its own, as this is on the path of every token."""
        if self._looks:
            self._look(message)
        return self._send(message)

    def end(self) -> None:
        """Count the request, and the tokens that it took."""
        model, status = self._noted.model, self._noted.failed or self._status
        if self._streams:
            self._meters.streams.labels(model).dec()
        self._meters.requests.labels(self._path, model, str(status)).inc()
        usage = self._noted.usage.told() if self._noted.usage is not None else {}
        for kind in ("prompt", "completion"):
            if usage.get(f"{kind}_tokens"):
                self._meters.tokens.labels(model, kind).inc(usage[f"{kind}_tokens"])

    def _look(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            kinds = [value for name, value in message["headers"] if name == b"content-type"]
            self._streams = self._looks = any(kind.startswith(STREAMS) for kind in kinds)
            if self._streams:
                self._meters.streams.labels(self._noted.model).inc()
        elif not message["body"].startswith(b":"):  # a comment is no event
            self._noted.first = time.monotonic()
            self._meters.first.labels(self._noted.model).observe(self._noted.first - self._begun)
            self._looks = False


class Metered:
    """An ASGI application that counts the requests to another one."""

    def __init__(self, app: ASGIApp, meters: Meters, paths: Iterable[str]) -> None:
        self._app = app
        self._meters = meters
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else OTHER
        watch = Watch(self._meters, path, notes.begin(), send)
        scope[WRITE] = watch.send
        try:
            await self._app(scope, receive, watch.send)
        finally:
            watch.end()
