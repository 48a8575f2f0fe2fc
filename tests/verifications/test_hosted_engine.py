"""An engine in a process of its own, inside a real Triton: all of verify, and its death."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted_repository
from processes import alive, command_line, family, until
from scripted_engine import DEADLY

from builder.serve import boot
from builder.server import Server
from builder.triton_client import Client
from builder.verify import verify

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    repository = tmp_path_factory.mktemp("hosted") / "repository"
    scripted_repository.write(repository, engine="hosted_script")
    booted = boot(repository)
    yield repository, booted
    booted.kill()


def test_everything_passes(hosted: tuple[Path, Server]) -> None:
    repository, server = hosted
    report = verify(repository, server.http, server.grpc, server.metrics)
    assert [row for row in report.rows() if row[3] != "passed"] == []


def test_a_dead_engine_is_an_error_and_starts_again(hosted: tuple[Path, Server]) -> None:
    _, server = hosted
    client = Client(server.http, server.grpc, server.metrics, {})
    died = client.generate("scripted", {"input_ids": [7] * DEADLY, "max_tokens": 1})
    assert "the engine has failed: the engine's process ended with code 7" in str(died.error)
    until(lambda: _answers(client))
    until(lambda: _up(client) == 1)


def test_a_failure_is_seen_from_outside(hosted: tuple[Path, Server]) -> None:
    _, server = hosted
    client = Client(server.http, server.grpc, server.metrics, {})
    client.generate("scripted", {"input_ids": [7] * DEADLY, "max_tokens": 1})
    until(lambda: _up(client) == 0)
    until(lambda: _up(client) == 1)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    scripted_repository.write(tmp_path / "repository", engine="hosted_script")
    before = set(family(os.getpid()))
    server = boot(tmp_path / "repository")
    started = set(family(os.getpid())) - before
    assert any("hosted_script" in command_line(one) for one in started)
    server.kill()
    until(lambda: not any(alive(one) for one in started))


def _answers(client: Client) -> bool:
    answer = client.generate("scripted", {"text_input": "Hello", "max_tokens": 4})
    assert not answer.error or "is started again" in answer.error
    return not answer.error


def _up(client: Client) -> float:
    return next(value for (name, _), value in client.metrics().items() if name == "builder_engine_up")
