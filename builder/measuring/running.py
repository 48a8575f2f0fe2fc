"""A Triton to measure: one that runs already, or an embedded one for the time of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    server = boot(directory)
    try:
        yield server.http, server.grpc, server.metrics
        server.stop()
    finally:
        # after an interruption nobody waits for what still runs
        server.kill()
