"""A Triton that runs already, somewhere: it is looked at, never started or stopped."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import ServeError, UsageError
from builder.rule import Host
from builder.server import Options, Server
from builder.serving import rest


def available() -> str | None:
    """Return None: a running server needs nothing on this machine."""
    return None


def create(repository: Path | None, options: Options) -> RemoteServer:
    """Return the server at `options.url`; its gRPC and metrics ports are the next two unless given."""
    host, port = _address(options.url)
    return RemoteServer(
        http=f"{host}:{port}",
        grpc=f"{host}:{options.grpc_port or port + 1}",
        metrics=f"{host}:{options.metrics_port or port + 2}",
    )


def host(options: Options) -> Host:
    """Return what a repository must fit to be served here, of which nothing is known."""
    return Host()


class RemoteServer(Server):
    """A server that is not ours: `start` requires it to be live, `stop` and `kill` leave it alone."""

    def __init__(self, *, http: str, grpc: str, metrics: str) -> None:
        self.http, self.grpc, self.metrics = http, grpc, metrics

    def start(self) -> None:
        if not rest.is_live(self.http):
            raise ServeError(
                f"no Triton answers at http://{self.http}/v2/health/live",
                expected="a running server",
                remedy="start it, or pass the --url of its HTTP port",
            )

    def stop(self) -> None:
        """Leave the server running."""

    def kill(self) -> None:
        """Leave the server running."""

    def keep_log(self) -> None:
        """Do nothing: its log is not ours."""

    def exit_code(self) -> int | None:
        return None

    def alive(self) -> bool:
        return rest.is_live(self.http)

    def log(self) -> str:
        return ""


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 8000
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise UsageError(
            f"{url!r} is not the address of a running server",
            expected="host:port or http://host:port of its HTTP port",
            remedy="pass --url http://127.0.0.1:8000",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host, port
