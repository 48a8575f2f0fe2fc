"""A server that echoes, and the command that talks to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import echoing_repository
from chat_command import COMMAND, environment

from builder.server import Server


@pytest.fixture(scope="session")
def server(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    return boot(echoing_repository.write(tmp_path_factory.mktemp("echoing") / "repository"))


@pytest.fixture
def chat(server: Server) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `builder chat` on the server to its end: `chat("--once", "hello", stdin=b"")`."""

    def run(*words: str, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, "--grpc-url", server.grpc, *words],
            input=stdin,
            capture_output=True,
            env=environment(),
            check=False,
            timeout=120,
            **more,
        )

    return run
