"""The fake endpoint, and the scripted deployment of the verification's tests."""

from __future__ import annotations

import json
import sys
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
