"""A Triton to measure: one that runs already, or an embedded one for the time of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from builder.errors import Interrupted
from builder.serve import boot
from builder.verifying import addresses


@contextmanager
def running(
    directory: Path,
    url: str | None,
    grpc_url: str | None,
    metrics_url: str | None,
    progress: Callable[[str, float], None],
) -> Iterator[tuple[str, str, str]]:
    """Give HTTP, gRPC and metrics as host:port; without `url` the repository is booted for the block."""
    if url:
        yield addresses(url, grpc_url, metrics_url)
        return
    progress("booting Triton", 0.0)
    with _ended_by_sigterm():
        server = boot(directory)
        try:
            yield server.http, server.grpc, server.metrics
            server.stop()
        finally:
            # after an interruption nobody waits for what still runs
            server.kill()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which CI sends to what takes too long, end the server as well."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped by SIGTERM; no server is left running")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
