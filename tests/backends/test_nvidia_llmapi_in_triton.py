"""NVIDIA's llmapi model in a real Triton, asked as clients of its template ask; a script is the engine."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verifications"))

import scripted_repository

from builder import model_config, yaml_text
from builder.inflight_batcher import llmapi
from builder.planning.models import placed
from builder.planning.placement import Split
from builder.server import Server
from builder.triton_client import client as clients

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NAME = llmapi.NAME
PROMPT = "Tell me a story"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The front of the scripted deployment as NVIDIA's model, beside it under its own name."""
    home = tmp_path_factory.mktemp("repository")
    scripted_repository.write(home)
    version = home / NAME / "1"
    shutil.copytree(home / scripted_repository.NAME / "1", version)
    scripted_repository.copy_code("nvidia_llmapi", version, with_engine=True)
    model = placed("any", llmapi.MODEL, "cpu", Split())
    plan: Any = SimpleNamespace(name="any", models=(model,), kind="generation")
    (version.parent / "config.pbtxt").write_text(model_config.text(model, plan))
    told = llmapi.files({}, f"/models/{NAME}/1")["model.yaml"]
    (version / "model.yaml").write_text(yaml_text.dump(told))
    return home


@pytest.fixture(scope="module")
def client(boot: Callable[..., Server], repository: Path) -> clients.Client:
    server = boot(repository, timeout=120.0)
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    return clients.Client(server.http, server.grpc, server.metrics, configs)


def golden(repository: Path) -> dict[str, Any]:
    told = json.loads((repository / scripted_repository.NAME / "1" / "golden.json").read_text())
    found: dict[str, Any] = next(one for one in told["prompts"] if one["text"] == PROMPT)
    return found


def test_texts_are_those_of_the_front_whole_and_in_parts(client: clients.Client, repository: Path) -> None:
    whole = client.generate(NAME, {"text_input": PROMPT})
    # the library's own default: 32 tokens
    assert str(whole.replies[0].outputs["text_output"][0]) == golden(repository)["output_text"]
    assert list(whole.replies[0].outputs) == ["text_output"]
    asked = {"text_input": PROMPT, "streaming": True, "return_finish_reason": True}
    parts = client.stream(NAME, asked)
    assert len(parts.replies) > 5
    assert (
        "".join(str(one.outputs["text_output"][0]) for one in parts.replies)
        == (golden(repository)["output_text"])
    )
    assert [str(one.outputs["finish_reason"][0]) for one in parts.replies][-2:] == ["", "stop"]


def test_what_is_asked_for_reaches_the_engine(client: clients.Client) -> None:
    sampled = {
        "text_input": PROMPT,
        "sampling_param_temperature": 1.5,
        "sampling_param_top_k": 50,
        "sampling_param_top_p": 0.9,
        "sampling_param_seed": 7,
        "sampling_param_frequency_penalty": 0.5,
        "sampling_param_presence_penalty": 0.5,
        "sampling_param_max_tokens": 6,
        "sampling_param_exclude_input_from_output": False,
        "return_cumulative_logprob": True,
    }
    ours = {
        "text_input": PROMPT, "temperature": 1.5, "top_k": 50, "top_p": 0.9, "seed": 7,
        "frequency_penalty": 0.5, "presence_penalty": 0.5, "max_tokens": 6,
        "exclude_input_in_output": False, "return_log_probs": True,
    }  # fmt: skip
    theirs, front = client.stream(NAME, sampled), client.stream(scripted_repository.NAME, ours)
    told = theirs.replies[0].outputs
    assert str(told["text_output"][0]) == str(front.replies[0].outputs["text_output"][0])
    assert str(told["text_output"][0]).startswith(PROMPT)
    assert told["cumulative_logprob"][0] == pytest.approx(front.replies[0].outputs["cum_log_probs"][0])
    text = golden_words(client)
    ended = client.stream(NAME, {"text_input": PROMPT, "sampling_param_stop": [text]})
    assert text not in str(ended.replies[0].outputs["text_output"][0])


def golden_words(client: clients.Client) -> str:
    """Return what a long answer says in its middle."""
    told = str(client.generate(NAME, {"text_input": PROMPT}).replies[0].outputs["text_output"][0])
    return told[len(told) // 2 :][:4]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sampling_param_best_of": 2}, "nothing for sampling_param_best_of"),
        ({"sampling_param_max_tokens": 100000}, "ask for at most"),
        ({"stop": True}, "stop ends the request of the same id"),
    ],
)
def test_what_cannot_be_is_refused(client: clients.Client, more: dict[str, Any], words: str) -> None:
    assert words in str(client.stream(NAME, {"text_input": PROMPT, **more}).error)


def test_a_request_is_stopped_by_its_id(client: clients.Client) -> None:
    with client.open() as stream, client.open() as other:
        asked = {
            "text_input": "The quick brown fox",
            "streaming": True,
            "sampling_param_max_tokens": 300,
            "return_finish_reason": True,
        }
        client.request(stream, NAME, asked, request_id="mine")
        stream.receive()
        client.request(other, NAME, {"text_input": "", "stop": True}, request_id="mine")
        reasons, ended = [""], False
        while not ended:
            _, reply, ended = stream.receive()
            if reply is not None:
                reasons.append(str(reply.outputs["finish_reason"][0]))
    assert reasons[-1] == "cancelled"
