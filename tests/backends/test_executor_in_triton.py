"""The front and the model NAME_engine in a real Triton: behind that name a stand-in with all its tensors."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import executor_stand_in as facts
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from backends.engine import bfloat16, executor_tensors
from builder import house, model_config, modules
from builder.inflight_batcher import engine
from builder.inflight_batcher.engine import Settings
from builder.inflight_batcher.tables import Types
from builder.planning.models import Instances, ModelPlan
from builder.server import Server
from builder.triton_client import client as clients
from ensembles import text_generation

pytestmark = [pytest.mark.triton, pytest.mark.slow]

NAME = "tiny"
ENGINE = f"{NAME}_engine"
PROMPT = [20, 21, 22]
FIRST = facts.FIRST
SETTINGS = Settings(8, "1.2.1", {"max_beam_width": 1}, Types(adapters="BF16"))
ADAPTERS = {"formal": 0x3F80, "terse": 0xC020}
"""Name -> all its numbers in bfloat16: 1.0 and -2.5."""
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def repository(sentence_piece_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("repository")
    front = text_generation.FRONT
    behind = dataclasses.replace(engine.member(SETTINGS), backend="python")
    for member in (front, behind):
        model = ModelPlan(NAME + member.suffix, member, Instances("KIND_CPU"))
        plan: Any = SimpleNamespace(name=NAME, models=(), kind="generation")
        (home / model.name / "1").mkdir(parents=True)
        (home / model.name / "config.pbtxt").write_text(model_config.text(model, plan))
    shutil.copy(HERE / "executor_stand_in.py", home / ENGINE / "1" / "model.py")
    _write_front(home / NAME / "1", sentence_piece_folder)
    return home


def _write_front(folder: Path, tokenizer: Path) -> None:
    backends = house.folder("backends")
    roots = [backends / "front" / "model.py", backends / "engine" / "tensorrt_llm_executor.py"]
    for file in modules.reached(backends, roots):
        copy = folder / "backends" / file.relative_to(backends)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.copy(roots[0], folder)
    shutil.copytree(tokenizer, folder / "tokenizer")
    for adapter, bits in ADAPTERS.items():
        (folder / "adapters" / adapter).mkdir(parents=True)
        weights = np.full((1, 2, 4), bits, "<u2").view(bfloat16.KIND)
        np.save(folder / "adapters" / adapter / "model.lora_weights.npy", weights)
        np.save(
            folder / "adapters" / adapter / "model.lora_config.npy",
            np.array([[[1, 0, 2], [1, 1, 2]]], np.int32),
        )
    settings = {
        "engine": "tensorrt_llm_executor",
        "engine_model": ENGINE,
        "engine_arguments": {"version": "1.2.1", "vocabulary": 300, "context_logits": True, "guided": True},
        "context_length": 2048,
        "max_active": 2,
        "max_waiting": 2,
        "default_deadline_seconds": 600,
        "end_ids": [2],
        "bos_id": 1,
        "pad_id": 2,
        "reasoning": None,
        "adapters": {name: f"adapters/{name}" for name in ADAPTERS},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def client(boot: Callable[..., Server], repository: Path) -> clients.Client:
    server = boot(repository, timeout=120.0)
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    return clients.Client(server.http, server.grpc, server.metrics, configs)


def asked(repository: Path) -> list[dict[str, Any]]:
    file = repository / ENGINE / "1" / "asked.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def told(request: dict[str, Any]) -> dict[str, Any]:
    """Return name -> values of what the engine's model was sent."""
    return {name: values for name, (_, _, values) in request["inputs"].items()}


def gauge(client: clients.Client, family: str) -> float:
    return sum(value for (name, _), value in client.metrics().items() if name == family)


def is_idle(client: clients.Client) -> bool:
    return gauge(client, "builder_engine_active_requests") == 0


def prompts(repository: Path) -> list[list[int] | None]:
    return [told(one).get("input_ids") for one in asked(repository)]


def is_stopped(repository: Path) -> bool:
    """Say whether the last thing that the engine's model was asked is to end a request."""
    return told(asked(repository)[-1]).get("stop") == [True]


def endless(**more: Any) -> dict[str, Any]:
    return {"input_ids": [facts.ENDLESS], "max_tokens": 2000, "stream": True, **more}


def test_every_mapped_field_arrives(client: clients.Client, repository: Path) -> None:
    inputs = {
        "input_ids": PROMPT,
        "max_tokens": 6,
        "temperature": 0.5,
        "top_k": 10,
        "top_p": 0.75,
        "repetition_penalty": 1.25,
        "min_tokens": 3,
        "end_id": 288,
        "seed": 2**63 + 1,
        "bad_words": ["hello"],
        "logit_bias": '{"5": -2.5}',
        "return_log_probs": True,
        "guided_decoding_guide_type": "regex",
        "guided_decoding_guide": "[a-z]+",
        "lora_name": "terse",
        "stream": True,
    }
    answer = client.stream(NAME, inputs)
    assert (answer.error, answer.ids()) == (None, list(range(FIRST, FIRST + 6)))
    assert answer.finish_reason() == "length"
    assert answer.values("output_log_probs") == [facts.LOG_PROB] * 6
    first = asked(repository)[-1]
    # an adapter goes along at first, in the engine's bfloat16
    assert first["inputs"]["lora_weights"] == ["float32", [1, 2, 4], [-2.5] * 8]
    assert first["inputs"]["lora_config"] == ["int32", [1, 2, 3], [1, 0, 2, 1, 1, 2]]
    bias = told(first).pop("embedding_bias")
    assert (len(bias), bias[5], sum(map(abs, bias))) == (300, -2.5, 2.5)
    found = told(first)
    shapes = {name: first["inputs"][name][1] for name in found}
    words = found.pop("bad_words_list")
    half = len(words) // 2
    assert shapes.pop("bad_words_list") == [1, 2, half] and words[:half] and max(words[half:]) == half
    assert {
        name: value for name, value in found.items() if not name.startswith(("lora_w", "lora_c", "embed"))
    } == {
        "input_ids": PROMPT,
        "input_lengths": [3],
        "request_output_len": [6],
        "end_id": [288],
        "runtime_top_k": [10],
        "runtime_top_p": [0.75],
        "temperature": [0.5],
        "repetition_penalty": [1.25],
        "min_tokens": [3],
        "seed": [2**63 + 1],
        "return_log_probs": [True],
        "guided_decoding_guide_type": ["regex"],
        "guided_decoding_guide": ["[a-z]+"],
        "lora_task_id": [executor_tensors.task(repository / NAME / "1" / "adapters" / "terse")],
        "streaming": [True],
        "exclude_input_in_output": [True],
    }
    # what is reshaped to [] has no dimension but the batch
    assert {tuple(shapes[name]) for name in ("input_lengths", "seed", "streaming", "lora_task_id")} == {(1,)}
    assert sorted(first["outputs"]) == ["output_ids", "output_log_probs", "sequence_length"]
    again = client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 2, "lora_name": "terse"})
    assert again.finish_reason() == "length"
    assert "lora_weights" not in asked(repository)[-1]["inputs"]


def test_an_adapter_is_sent_again_when_the_engine_has_it_no_longer(
    client: clients.Client, repository: Path
) -> None:
    inputs = {"max_tokens": 2, "lora_name": "formal"}
    for prompt in ([20], [facts.FORGET]):
        assert client.stream(NAME, {**inputs, "input_ids": prompt}).ids() == [FIRST, FIRST + 1]
    sent = ["lora_weights" in one["inputs"] for one in asked(repository)[-3:]]
    # at first, in vain without them, and once more
    assert sent == [True, False, True]


def test_all_62_inputs_and_21_outputs_pass_triton(client: clients.Client, repository: Path) -> None:
    config = client.configs[ENGINE]
    # clients of other versions write bfloat16 otherwise: the front has sent that one
    inputs = {one.name: _any(one) for one in config.input if one.name != "lora_weights"}
    inputs |= {"input_ids": PROMPT, "input_lengths": 3, "request_output_len": 2, "stop": False}
    answer = client.stream(ENGINE, inputs)
    assert len(answer.replies) == 2
    assert set(answer.replies[0].outputs) == {one.name for one in config.output}
    assert {*asked(repository)[-1]["inputs"], "lora_weights"} == {one.name for one in config.input}
    assert (len(config.input), len(config.output)) == (62, 21)


def _any(tensor: Any) -> clients.Raw:
    name = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    shape = tuple(abs(size) for size in tensor.dims)
    value: Any = b"json" if name == "STRING" else 0
    return clients.Raw("BYTES" if name == "STRING" else name, (1, *shape), [value] * int(np.prod(shape)))


def test_whole_is_streamed_and_an_end_is_no_text(client: clients.Client) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 50, "end_id": FIRST + 4}
    whole, streamed = client.stream(NAME, inputs), client.stream(NAME, {**inputs, "stream": True})
    assert whole.ids() == streamed.ids() == list(range(FIRST, FIRST + 4))
    assert whole.text() == streamed.text() != ""
    assert (whole.finish_reason(), streamed.finish_reason()) == ("stop", "stop")
    assert (len(whole.replies), whole.last("num_output_tokens")) == (1, 4)


def test_several_answers_have_seeds_of_their_own(client: clients.Client, repository: Path) -> None:
    inputs = {"input_ids": PROMPT, "max_tokens": 3, "temperature": 1.0, "seed": 3, "num_return_sequences": 2}
    answer = client.stream(NAME, inputs)
    assert answer.ids(0) == answer.ids(1) == [FIRST, FIRST + 1, FIRST + 2]
    assert sorted(told(one)["seed"] for one in asked(repository)[-2:]) == [[3], [4]]


def test_a_prompt_is_scored_by_its_logits(client: clients.Client) -> None:
    answer = client.stream(NAME, {"input_ids": [20, 5, 6], "max_tokens": 1, "prompt_logprobs": True})
    total = np.log(facts.VOCABULARY - 1 + np.e)
    np.testing.assert_allclose(answer.values("prompt_log_probs"), [1 - total, -total], rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"beam_width": 2}, "does not support 'beam_width'"),
        ({"length_penalty": 2.0}, "does not support 'length_penalty'"),
        ({"min_p": 0.1}, "does not support 'min_p'"),
        ({"top_logprobs": 2}, "does not support 'top_logprobs'"),
        ({"presence_penalty": 0.5}, "does not support 'presence_penalty'"),
        ({"frequency_penalty": 0.5}, "does not support 'frequency_penalty'"),
        ({"top_k": 2000, "temperature": 1.0}, "top_k is 2000, this engine takes at most 1024"),
        ({"max_tokens": 3000}, "the context holds 2048"),
    ],
)
def test_what_cannot_be_mapped_is_refused_by_name(
    client: clients.Client, repository: Path, more: dict[str, Any], words: str
) -> None:
    before = len(asked(repository))
    answer = client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 3, **more})
    assert words in str(answer.error)
    assert len(asked(repository)) == before


def test_an_error_of_the_engine_is_the_request_s(client: clients.Client) -> None:
    answer = client.stream(NAME, {"input_ids": [facts.BROKEN], "max_tokens": 3})
    assert "out of luck" in str(answer.error)
    assert client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 3}).finish_reason() == "length"


def test_a_client_that_leaves_ends_the_engine_s_request(client: clients.Client, repository: Path) -> None:
    assert client.until(lambda: is_idle(client), 20)
    with client.open() as stream:
        client.request(stream, NAME, endless())
        stream.receive()
        stream.cancel()
    assert client.until(lambda: is_stopped(repository), 20)
    running, stop = asked(repository)[-2:]
    assert told(stop) == {"input_lengths": [1], "request_output_len": [1], "stop": [True]}
    assert stop["id"] == running["id"] != ""


def test_a_stop_string_ends_the_engine_s_request(client: clients.Client, repository: Path) -> None:
    text = client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 40}).text()
    answer = client.stream(NAME, endless(stop_words=[text[5]]))
    assert (answer.finish_reason(), answer.text()) == ("stop", text[: text.index(text[5])])
    assert client.until(lambda: is_stopped(repository), 20)


def test_a_deadline_ends_what_runs(client: clients.Client, repository: Path) -> None:
    answer = client.stream(NAME, endless(), timeout=200_000)
    assert "timeout expired" in str(answer.error)
    assert client.until(lambda: is_stopped(repository), 20)


def test_the_line_is_bounded_and_the_urgent_go_first(client: clients.Client, repository: Path) -> None:
    assert client.until(lambda: is_idle(client), 20)
    with client.open() as one, client.open() as other, client.open() as waiting:
        for stream in (one, other):
            client.request(stream, NAME, endless())
        assert client.until(lambda: gauge(client, "builder_engine_active_requests") == 2, 20)
        for place, priority in ((30, 90), (31, 1)):
            inputs = {"input_ids": [21, place], "max_tokens": 2, "priority": priority}
            client.request(waiting, NAME, inputs, request_id=f"{priority}")
        assert client.until(lambda: gauge(client, "builder_engine_waiting_requests") == 2, 20)
        refused = client.stream(NAME, {"input_ids": PROMPT, "max_tokens": 2})
        assert "2 requests are running and 2 waiting" in str(refused.error)
        one.cancel()
        # one place is free: they take it one after the other
        assert client.until(lambda: [21, 30] in prompts(repository), 20)
        other.cancel()
    assert prompts(repository).index([21, 31]) < prompts(repository).index([21, 30])
