"""Explicit model control: a front is unloaded with its engine's process, and comes back with another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from processes import alive, command_line, family, until
from scripted_repository import NAME, write

from builder.serve import boot
from builder.server import Options, Server
from builder.serving import rest
from builder.triton_client import Client


def test_triton_is_told_only_when_asked() -> None:
    assert Options(arguments=("--log-verbose=1",)).triton_arguments == ("--log-verbose=1",)
    asked = Options(model_control="explicit", arguments=("--log-verbose=1",))
    assert asked.triton_arguments == ("--model-control-mode=explicit", "--load-model=*", "--log-verbose=1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("controlled") / "repository"
    write(repository, engine="hosted_script")
    booted = boot(repository, options=Options(model_control="explicit"))
    yield booted
    booted.kill()


@pytest.fixture
def control(server: Server) -> Iterator[tritonclient.http.InferenceServerClient]:
    with tritonclient.http.InferenceServerClient(server.http) as client:
        yield client
        if _state(server, NAME) != "READY":
            client.load_model(NAME)


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.http, server.grpc, server.metrics, {})


@pytest.mark.triton
@pytest.mark.slow
def test_an_unloaded_front_ends_its_engine_and_a_load_brings_both_back(
    server: Server, control: tritonclient.http.InferenceServerClient, client: Client
) -> None:
    for _ in range(2):
        (engine,) = _engines()
        control.unload_model(NAME)
        until(lambda: _state(server, NAME) == "UNAVAILABLE")
        until(lambda engine=engine: not alive(engine))
        assert _engines() == []
        assert "unknown model" in str(_ask(client).error)
        assert _state(server, f"{NAME}_tokenizer") == "READY"
        control.load_model(NAME)
        (another,) = _engines()
        assert another != engine
        assert _ask(client).error is None
        until(lambda: _metric(client, "builder_engine_up") == 1)


@pytest.mark.triton
@pytest.mark.slow
def test_what_runs_finishes_before_its_engine_ends(
    server: Server, control: tritonclient.http.InferenceServerClient, client: Client
) -> None:
    (engine,) = _engines()
    inputs = {"input_ids": [7, 8, 9], "max_tokens": 300, "end_id": -1, "stream": True}
    with client.open_http(NAME, inputs, "generate_stream") as call:
        events = call.events()
        made = [next(events)]
        control.unload_model(NAME)
        made += list(events)
    assert sum(np.size(event["output_ids"]) for event in made) == 300
    assert made[-1]["finish_reason"] == "length"
    until(lambda: not alive(engine))
    control.load_model(NAME)
    assert _ask(client).error is None


@pytest.mark.triton
@pytest.mark.slow
def test_a_load_over_what_runs_changes_engines(
    server: Server, control: tritonclient.http.InferenceServerClient, client: Client
) -> None:
    (engine,) = _engines()
    settings = _folder(engine) / "settings.json"
    settings.write_text(settings.read_text() + "\n")
    control.load_model(NAME)
    until(lambda: not alive(engine))
    (another,) = _engines()
    assert another != engine
    assert _ask(client).error is None


def _ask(client: Client):
    return client.generate(NAME, {"input_ids": [7, 8], "max_tokens": 4})


def _state(server: Server, model: str) -> str:
    return next(
        entry.get("state", "") for entry in rest.repository_index(server.http) if entry["name"] == model
    )


def _metric(client: Client, name: str) -> float:
    return next(value for (family, _), value in client.metrics().items() if family == name)


def _engines() -> list[int]:
    """Return the processes of engines below this one."""
    return [one for one in family(os.getpid()) if alive(one) and "backends.engine.host" in command_line(one)]


def _folder(engine: int) -> Path:
    """Return the version folder that an engine serves, which its command line names."""
    words = command_line(engine)
    return Path(words[words.index("hosted_script") + 1])
