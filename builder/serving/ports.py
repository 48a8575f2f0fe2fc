"""Loopback ports: is a given one free, and which ones can be had."""

from __future__ import annotations

import random
import socket

from builder.errors import ServeError
from builder.server import Options

# Below Linux's ephemeral range (32768 and up): a client's outgoing connection cannot take the port
# between our test and Triton's bind.
_CANDIDATES = range(18000, 32000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether `host:port` can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Triton sets it too: a port whose last connection is in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(options: Options) -> tuple[int, int, int]:
    """Return the ports for HTTP, gRPC and metrics; raise ServeError when a given one is taken."""
    given = {
        "http": options.http_port,
        "grpc": options.grpc_port,
        "metrics": options.metrics_port,
    }
    taken: set[int] = set()
    for name, port in given.items():
        if port and (port in taken or not is_free(port)):
            raise ServeError(
                f"port {port} on 127.0.0.1, asked for {name}, is in use",
                expected="a free port",
                remedy=f"pass another --{name}-port, or --{name}-port 0 to have a free one chosen",
            )
        taken.add(port)
    ports = []
    for port in given.values():
        ports.append(port or _any_free(taken))
        taken.add(ports[-1])
    return ports[0], ports[1], ports[2]


def _any_free(taken: set[int]) -> int:
    for port in random.SystemRandom().sample(_CANDIDATES, 200):
        if port not in taken and is_free(port):
            return port
    raise ServeError(
        f"no free port between {_CANDIDATES.start} and {_CANDIDATES.stop} on 127.0.0.1",
        remedy="end the programs that hold them, or pass --http-port, --grpc-port and --metrics-port",
    )
