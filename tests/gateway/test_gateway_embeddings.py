"""Vectors of minilm through the gateway, by the official client and by plain HTTP."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from gateway_process import Gateway

from builder.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]
TEXTS = ["The weather is lovely today.", "It is sunny outside!", "He drove to the stadium."]


def vectors(answer: Any) -> Any:
    return np.array([one.embedding for one in answer.data])


@pytest.fixture
def embed(client: Any) -> Any:
    def ask(given: Any, **more: Any) -> Any:
        return client.embeddings.create(model="minilm", input=given, **more)

    return ask


def test_they_are_tritons_own(embed: Any, real_server: Server) -> None:
    tensor = triton.InferInput("text_input", [3, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()] for text in TEXTS], dtype=np.object_))
    with triton.InferenceServerClient(real_server.grpc) as server:
        expected = server.infer("minilm", [tensor]).as_numpy("embedding")
    # the client asks for base64 unless told otherwise
    for answer in (embed(TEXTS), embed(TEXTS, encoding_format="float")):
        assert np.abs(vectors(answer) - expected).max() < 1e-6
        assert [one.index for one in answer.data] == [0, 1, 2]
    first, second, third = vectors(embed(TEXTS))
    assert first @ second > first @ third


def test_base64_is_float32(real: Gateway) -> None:
    told = {
        form: real.post("/v1/embeddings", model="minilm", input=TEXTS[0], encoding_format=form)[1]["data"][0]
        for form in ("float", "base64")
    }
    decoded = np.frombuffer(base64.b64decode(told["base64"]["embedding"]), "<f4")
    assert np.allclose(decoded, told["float"]["embedding"], atol=1e-6)


def test_more_texts_than_a_batch_holds(embed: Any) -> None:
    texts = [f"text number {number}" for number in range(150)]
    together = vectors(embed(texts))
    for place in (0, 63, 64, 149):
        assert np.abs(together[place] - vectors(embed(texts[place]))[0]).max() < 1e-4


def test_token_arrays(real: Gateway, embed: Any) -> None:
    ids = [real.post("/tokenize", model="minilm", prompt=text)[1]["tokens"] for text in TEXTS]
    by_text, by_ids = embed(TEXTS), embed(ids)
    assert np.abs(vectors(by_ids) - vectors(by_text)).max() < 1e-4
    assert by_ids.usage == by_text.usage
    assert by_ids.usage.prompt_tokens == sum(map(len, ids))
    assert np.abs(vectors(embed(ids[0])) - vectors(by_text)[:1]).max() < 1e-4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [101] * 5000}, "input"),
        ({"input": [2**31 - 1]}, "input"),
        ({"input": "word " * 5000}, "input"),
        ({}, "input"),
        ({"input": "a", "dimensions": 64}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "truncate": True}, "truncate"),
        ({"input": ["a", {"type": "image_url", "image_url": {"url": "data:,"}}]}, "input[1]"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "messages"),
    ],
)
def test_refusals_name_the_parameter(real: Gateway, fields: Any, param: str) -> None:
    status, error = real.refusal("/v1/embeddings", model="minilm", **fields)
    assert (status, error["param"]) == (400, param), error


def test_ids_that_do_not_exist_spoil_nobodys_batch(real: Gateway) -> None:
    def ask(number: int) -> int:
        given: Any = [2**31 - 1] if number % 3 == 0 else [101, 102] if number % 3 == 1 else f"text {number}"
        return real.post("/v1/embeddings", model="minilm", input=given)[0]

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(ask, range(60)))
    assert told[0::3] == [400] * 20
    assert told[2::3] == [200] * 20


def test_models_by_kind(real: Gateway, client: Any) -> None:
    assert {model.id: model.task for model in client.models.list()} == {
        "smollm2": "chat",
        "minilm": "embedding",
        "ranker": "reranking",
    }
    # what OpenAI's record lacks comes along
    chats = {model.id: model.capabilities["completion_chat"] for model in client.models.list()}
    assert chats == {"smollm2": True, "minilm": False, "ranker": False}
    assert client.models.retrieve("minilm").owned_by == "triton"
    for path, model in (("/v1/embeddings", "smollm2"), ("/v1/chat/completions", "minilm")):
        status, error = real.refusal(path, model=model)
        assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
