"""The fake endpoint, and the scripted deployment of the verification's tests."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "verifications"))

import scripted_repository
from fake_openai import FakeOpenAi, Manners

from builder.server import Server


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeOpenAi]]:
    """Start endpoints with the manners asked for; they end with the test."""
    started: list[FakeOpenAi] = []

    def start(**manners: Any) -> FakeOpenAi:
        started.append(FakeOpenAi(Manners(**manners)).__enter__())
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


@pytest.fixture
def other_protocol() -> Iterator[str]:
    """The address of a server that greets as gRPC does, whatever it is asked."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05" * 60)
            self.request.recv(1 << 16)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripted deployment."""
    folder = tmp_path_factory.mktemp("measured") / "repository"
    scripted_repository.write(folder)
    return folder


@pytest.fixture(scope="session")
def triton(boot: Callable[..., Server], repository: Path) -> Server:
    """A real Triton that serves it."""
    return boot(repository)


@pytest.fixture
def short_prompts(tmp_path: Path) -> Path:
    """Prompts that fit the small context of the scripted deployment."""
    path = tmp_path / "prompts.jsonl"
    chats = [{"messages": [{"role": "user", "content": text}]} for text in ("Hello", "Name a city")]
    path.write_text("\n".join(map(json.dumps, [*chats, {"prompt": "Once upon"}])))
    return path
