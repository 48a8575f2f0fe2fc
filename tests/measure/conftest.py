"""The fake endpoint, the scripted deployment of the verification's tests, and the command as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "verifications"))

import scripted_repository
from fake_openai import FakeOpenAi, Manners

from builder.server import Server

ROOT = Path(__file__).resolve().parents[2]


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


def builder(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `builder measure` as a user does."""
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "builder", "measure", *words]


def measured(*words: str) -> dict[str, Any]:
    """Return the JSON of a measurement that went well."""
    done = builder(*words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def children(process: int) -> list[int]:
    """Return what a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]


def alive(process: int) -> bool:
    """Return whether a process still runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, which it must within half a minute."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
