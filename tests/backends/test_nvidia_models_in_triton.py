"""NVIDIA's stock models in a real Triton, asked as clients of the templates ask; a stand-in is the engine."""

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
from tokenizers import Tokenizer
from tritonclient.grpc import model_config_pb2

from builder import house, model_config, modules
from builder.ensemble import Pipeline
from builder.inflight_batcher import engine, stock
from builder.inflight_batcher.engine import Settings
from builder.planning.models import placed
from builder.planning.placement import Split
from builder.server import Server
from builder.triton_client import client as clients

pytestmark = [pytest.mark.triton, pytest.mark.slow]

FRONTS = ("ensemble", "tensorrt_llm_bls")
PROMPT = "hello hel"


@pytest.fixture(scope="module")
def repository(sentence_piece_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("repository")
    pipeline = Pipeline("", (engine.member(Settings(8, "1.2.1")),), kind="generation")
    found = (
        dataclasses.replace(one, backend="python") if one.backend == engine.BACKEND else one
        for one in stock.members(pipeline)
    )
    models = tuple(placed("chat", one, "cpu", Split()) for one in found)
    plan: Any = SimpleNamespace(name="chat", models=models, kind="generation")
    for model in models:
        folder = home / model.name / "1"
        folder.mkdir(parents=True)
        (folder.parent / "config.pbtxt").write_text(model_config.text(model, plan))
        if model.member.code:
            _write_code(folder, model.member.code, sentence_piece_folder)
    (home / "ensemble" / "1" / ".keep").touch()
    shutil.copy(Path(facts.__file__), home / "tensorrt_llm" / "1" / "model.py")
    return home


def _write_code(folder: Path, code: str, tokenizer: Path) -> None:
    backends = house.folder("backends")
    main = backends / code / "model.py"
    shutil.copy(main, folder)
    for file in modules.reached(backends, [main]):
        copy = folder / "backends" / file.relative_to(backends)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.copytree(tokenizer, folder / "tokenizer")
    (folder / "settings.json").write_text(json.dumps({"bos_id": 1, "end_ids": [2], "pad_id": None}))


@pytest.fixture(scope="module")
def client(boot: Callable[..., Server], repository: Path) -> clients.Client:
    server = boot(repository, timeout=120.0)
    configs = {
        file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())
        for file in repository.glob("*/config.pbtxt")
    }
    return clients.Client(server.http, server.grpc, server.metrics, configs)


def _spelled(byte: int) -> str:
    """Return the text that becomes the id of a byte: the tokenizer's first three ids are none."""
    return chr(byte - 3)


def asked(repository: Path) -> list[dict[str, Any]]:
    lines = (repository / "tensorrt_llm" / "1" / "asked.jsonl").read_text().splitlines()
    return [{name: one[2] for name, one in json.loads(line)["inputs"].items()} for line in lines]


@pytest.mark.parametrize("front", FRONTS)
def test_every_input_reaches_the_engine_by_its_name(
    client: clients.Client, repository: Path, sentence_piece_folder: Path, front: str
) -> None:
    inputs = {
        "text_input": PROMPT,
        "max_tokens": 3,
        "num_return_sequences": 1,
        "bad_words": ["hello", "w"],
        "stop_words": ["lo", ""],
        "exclude_input_in_output": True,
        "end_id": 270,
        "pad_id": 3,
        "top_k": 5,
        "top_p": 0.5,
        "temperature": 0.25,
        "length_penalty": 1.5,
        "repetition_penalty": 1.25,
        "min_tokens": 1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.75,
        "seed": 2**63,
        "return_log_probs": True,
        "return_context_logits": True,
        "return_generation_logits": True,
        "return_perf_metrics": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
        "beam_width": 1,
        "stream": True,
        "embedding_bias_words": ["w"],
        "embedding_bias_weights": [2.0],
        "lora_task_id": 4,
        "lora_weights": clients.Raw("FP16", (1, 1, 2), [1.0, 2.0]),
        "lora_config": clients.Raw("INT32", (1, 1, 3), [0, 0, 1]),
        "guided_decoding_guide_type": "json",
        "guided_decoding_guide": "{}",
    }
    answer = client.stream(front, inputs)
    assert (answer.error, len(answer.replies)) == (None, 3)
    assert set(answer.replies[0].outputs) == {one.name for one in client.configs[front].output}
    found = asked(repository)[-1]
    library = Tokenizer.from_file(str(sentence_piece_folder / "tokenizer.json"))
    ids = library.encode(PROMPT).ids
    words = [library.encode(word, add_special_tokens=False).ids for word in ("hello", "w", "lo")]
    ends = [len(words[0]), len(words[0]) + len(words[1])]
    bad = [*words[0], *words[1], *ends, *[-1] * (ends[1] - 2)]
    stop = [*words[2], len(words[2]), *[-1] * (len(words[2]) - 1)]
    bias = np.array(found.pop("embedding_bias"))
    expected_bias = np.zeros(library.get_vocab_size())
    np.add.at(expected_bias, words[1], 2.0)
    np.testing.assert_array_equal(bias, expected_bias)
    assert found == {
        "input_ids": ids,
        "input_lengths": [len(ids)],
        "decoder_input_ids": [3],
        "decoder_input_lengths": [1],
        "prompt_table_extra_ids": [0] * len(ids),
        "request_output_len": [3],
        "num_return_sequences": [1],
        "bad_words_list": bad,
        "stop_words_list": stop,
        "exclude_input_in_output": [True],
        "end_id": [270],
        "pad_id": [3],
        "runtime_top_k": [5],
        "runtime_top_p": [0.5],
        "temperature": [0.25],
        "len_penalty": [1.5],
        "repetition_penalty": [1.25],
        "min_tokens": [1],
        "presence_penalty": [0.5],
        "frequency_penalty": [0.75],
        "seed": [2**63],
        "beam_width": [1],
        "streaming": [True],
        "lora_task_id": [4],
        "lora_weights": [1.0, 2.0],
        "lora_config": [0, 0, 1],
        "guided_decoding_guide_type": ["json"],
        "guided_decoding_guide": ["{}"],
        **{
            f"return_{name}": [True]
            for name in (
                *("log_probs", "context_logits", "generation_logits", "perf_metrics"),
                *("num_input_tokens", "num_output_tokens"),
            )
        },
    }


@pytest.mark.parametrize("front", FRONTS)
def test_the_few_required_inputs_are_enough(client: clients.Client, repository: Path, front: str) -> None:
    answer = client.stream(front, {"text_input": PROMPT, "max_tokens": 2})
    assert (answer.error, len(answer.replies)) == (None, 2)
    found = asked(repository)[-1]
    assert (found["end_id"], found["pad_id"]) == ([2], [2])
    assert found["stop_words_list"] == found["bad_words_list"] == found["embedding_bias"] == []


def test_streamed_text_is_the_whole_text(client: clients.Client) -> None:
    # no piece has the last characters: each is two or four ids, and as many answers
    text = "hello hello  world. ü🙂"
    inputs = {"text_input": f"{_spelled(facts.ECHO)}{text}", "max_tokens": 100, "stream": True}
    answer = client.stream("tensorrt_llm_bls", inputs)
    told = [str(reply.outputs["text_output"][0]) for reply in answer.replies]
    assert "".join(told) == text
    assert told[-6:] == ["", "ü", "", "", "", "🙂"]


def test_postprocessing_keeps_every_space(client: clients.Client, sentence_piece_folder: Path) -> None:
    library = Tokenizer.from_file(str(sentence_piece_folder / "tokenizer.json"))
    ids = [library.token_to_id(name) for name in ("▁hello", "▁hello", "▁w", "<s>", "▁hel", "lo")]

    def text(part: list[int], length: int) -> str:
        inputs = {
            "TOKENS_BATCH": clients.Raw("INT32", (1, 1, len(part)), part),
            "SEQUENCE_LENGTH": clients.Raw("INT32", (1, 1), [length]),
        }
        found = client.infer("postprocessing", inputs)["OUTPUT"]
        # NVIDIA's clients read output[0]
        assert found.shape == (1,)
        return found[0].decode()

    assert [text([token], 1) for token in ids[:3]] == [" hello", " hello", " w"]
    assert text(ids[3:], 3) == "hello"
    assert text([ids[0], -1, -1], 1) == " hello"


@pytest.mark.parametrize(
    ("front", "more", "words"),
    [
        ("tensorrt_llm_bls", {"num_draft_tokens": 4}, "nothing for num_draft_tokens"),
        ("tensorrt_llm_bls", {"image_url_input": "http://x"}, "nothing for image_url_input"),
        ("tensorrt_llm_bls", {"embedding_bias_words": ["a", "b"]}, "EMBEDDING_BIAS_WORDS has 2 words"),
        ("ensemble", {"embedding_bias_words": ["a", "b"]}, "EMBEDDING_BIAS_WORDS has 2 words"),
        ("ensemble", {"text_input": b"\xff"}, "QUERY is not valid UTF-8"),
        ("preprocessing", {"IMAGE_URL": "http://x"}, "leave out IMAGE_URL"),
    ],
)
def test_what_nobody_reads_is_refused_by_name(
    client: clients.Client, front: str, more: dict[str, Any], words: str
) -> None:
    named = {"QUERY": PROMPT, "REQUEST_OUTPUT_LEN": 2} if front == "preprocessing" else {}
    inputs = named or {"text_input": PROMPT, "max_tokens": 2}
    answer = client.stream(front, {**inputs, **more})
    assert words in str(answer.error)


def test_a_client_that_leaves_ends_the_engine_s_request(client: clients.Client, repository: Path) -> None:
    with client.open() as stream:
        inputs = {"text_input": _spelled(facts.ENDLESS), "max_tokens": 2000, "stream": True}
        client.request(stream, "tensorrt_llm_bls", inputs)
        stream.receive()
        stream.cancel()
    assert client.until(lambda: asked(repository)[-1].get("stop") == [True], 20)
