"""What each client of a worker may take before its request is there."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass, replace

RESERVED_FILES = 100
"""For Triton, the keys, the log and the program itself."""


@dataclass(frozen=True)
class Bounds:
    """How much, and for how long.

    Args:
        head_seconds: from a connection, or the first byte of a later request, to the end of its headers.
        body_seconds: for the body behind it.
        head_bytes: of the request line and the headers together.
        connections: open at once; those beyond are answered with 503.
    """

    head_seconds: float = 10.0
    body_seconds: float = 60.0
    head_bytes: int = 64 * 2**10
    connections: int = 10_000

    def within_files(self) -> Bounds:
        """Return them with as many connections as this process may have: its limit of files is raised."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = self.connections if soft == resource.RLIM_INFINITY else soft - RESERVED_FILES
        return replace(self, connections=max(1, min(self.connections, most)))
