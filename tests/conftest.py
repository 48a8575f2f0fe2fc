"""Fixtures that several folders of tests share, and the markers that this machine may not serve."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from builder import serve
from builder.server import Server
from builder.servers import docker, embedded


def pytest_configure() -> None:
    # no test pins anything in the folder that it is run in, unless it is about that
    os.environ["BUILDER_LOCK"] = "none"
    # a run that is ended from outside still ends the servers that it booted; one in the background of a
    # script ignores Ctrl-C, and so would the programs whose Ctrl-C is tested
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    # no test is about its own speed, which is that of whatever else runs on the machine
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, saying what would make it run."""
    marked = {mark.name for item in items for mark in item.iter_markers()}
    reasons = {
        "triton": embedded.available() if "triton" in marked else None,
        "docker": docker.available() if "docker" in marked else None,
        "gpu": None if shutil.which("nvidia-smi") else "no NVIDIA GPU",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


CRASHES = [-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL]
"""Exit codes of a server that nobody ended."""


@pytest.fixture(scope="session")
def boot() -> Iterator[Callable[..., Server]]:
    """Boot servers that live until the session ends: `boot(repository, timeout=120.0)`."""
    servers: list[Server] = []

    def start(repository: Path, **arguments: Any) -> Server:
        servers.append(serve.boot(repository, **arguments))
        return servers[-1]

    yield start
    crashed = [server for server in servers if server.exit_code() in CRASHES]
    told = "\n".join(f"Triton ended with {server.exit_code()}:\n{server.log()[-4000:]}" for server in crashed)
    for server in servers:
        server.kill()
    assert not crashed, told
