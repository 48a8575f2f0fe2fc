"""Verify a repository against a server that runs already, or one that is booted for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import UsageError
from builder.report import Report
from builder.serve import boot
from builder.served import read_repository
from builder.server import Options
from builder.verify import checks, require_verifiable, verify

Progress = Callable[[str, float], None]

_SECONDS_TO_CONNECT = 5
SECONDS_TO_STOP = 3
"""When all is verified only the requests count as in flight that Triton refused: it would wait for them."""


def run(
    repository: Path,
    url: str | None = None,
    grpc_url: str | None = None,
    metrics_url: str | None = None,
    *,
    names: Sequence[str] = (),
    only: Sequence[str] = (),
    progress: Progress,
) -> Report:
    """Return the report; without `url` an embedded server is booted for the time of it."""
    total = len(only) or len(checks())
    done = 0

    def step(_: object) -> None:
        nonlocal done
        done += 1
        progress("verifying", min(1.0, done / total))

    def ask(http: str, grpc: str, metrics: str | None) -> Report:
        return verify(repository, http, grpc, metrics, names=names or None, only=only or None, progress=step)

    if url:
        http, grpc, metrics = addresses(url, grpc_url, metrics_url)
        # at a port that was only guessed there may be nothing: what needs it is then skipped aloud
        return ask(http, grpc, metrics if metrics_url or _listens(metrics) else None)
    require_verifiable(read_repository(repository), names or None)
    progress("booting Triton", 0.0)
    with boot(repository, options=Options(exit_timeout=SECONDS_TO_STOP)) as server:
        return ask(server.http, server.grpc, server.metrics)


def _listens(address: str) -> bool:
    parts = urlsplit(f"//{address}")
    try:
        with socket.create_connection((parts.hostname, parts.port), _SECONDS_TO_CONNECT):
            return True
    except OSError:
        return False


def addresses(url: str, grpc_url: str | None, metrics_url: str | None) -> tuple[str, str, str]:
    """Return HTTP, gRPC and metrics as host:port; Triton's habit is three ports in a row."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host, port = None, None
    if not host or not port:
        raise UsageError(f"--url {url}", expected="http://HOST:PORT")
    host = f"[{host}]" if ":" in host else host
    return (
        f"{host}:{port}",
        _bare(grpc_url) or f"{host}:{port + 1}",
        _bare(metrics_url) or f"{host}:{port + 2}",
    )


def _bare(address: str | None) -> str:
    return urlsplit(address if "//" in address else f"//{address}").netloc if address else ""
