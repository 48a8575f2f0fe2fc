"""Bodies of every kind: read strictly, refused in OpenAI's shape with the parameter's name, never a 500."""

from __future__ import annotations

import http.client
import json
import math
from typing import Any

import pytest
from echoing_repository import CONTEXT, NAME, OFFENCE
from gateway_process import JSON, Gateway, error_of
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.gateway.protocol import bodies
from builder.gateway.protocol.errors import ApiError

pytestmark = pytest.mark.triton
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
RESPONSES = "/v1/responses"
ASKING = (CHAT, COMPLETIONS, RESPONSES, "/v1/embeddings", "/v1/rerank", "/tokenize", "/detokenize")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARAMETERS = (
    *("model", "messages", "prompt", "input", "tokens", "max_tokens", "max_completion_tokens", "n", "stop"),
    *("seed", "temperature", "top_p", "top_k", "min_p", "logprobs", "top_logprobs", "logit_bias", "echo"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "min_tokens", "response_format"),
    *("user", "metadata", "tools", "tool_choice", "timeout", "best_of", "suffix", "encoding_format"),
    *("parallel_tool_calls", "query", "documents", "top_n", "text", "instructions", "include", "truncation"),
    *("dimensions", "priority", "bad_words", "ignore_eos", "stream_options", "store", "modalities"),
)


def sendable(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_a_body_that_parses_means_what_it_says() -> None:
    @given(st.dictionaries(st.text(), anything, max_size=4))
    def means(body: dict[str, Any]) -> None:
        written = json.dumps(body)
        if any(word in written for word in ("NaN", "Infinity")):
            return
        assert bodies.parse(written.encode()) == json.loads(written)

    means()


def test_bytes_are_parsed_or_refused() -> None:
    @given(st.binary(max_size=64))
    def parses(data: bytes) -> None:
        try:
            assert isinstance(bodies.parse(data), dict)
        except ApiError as error:
            assert error.status == 400
            error_of(json.loads(error.body()))

    parses()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "a JSON array, an object is expected"),
        (b'"text"', "a JSON string"),
        (b"null", "a JSON null"),
        (b'{"model": "\xff"}', "not valid UTF-8: invalid start byte at byte 11"),
        (b'{"model": "a", "model": "b"}', "'model' is given twice"),
        (b'{"messages": [{"role": "user", "role": "system"}]}', "'role' is given twice"),
        (b'{"seed": NaN}', "NaN is no number"),
        (b'{"seed": -Infinity}', "-Infinity is no number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_body(echo: Gateway, data: bytes, said: str) -> None:
    status, _, told = echo.request("POST", CHAT, data)
    error = error_of(json.loads(told))
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert said in error["message"]


PICTURE = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": PICTURE}}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [TEXT, IMAGE]}]}, "messages[0].content[1]"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": [IMAGE]}]},
            "messages[1].content[0]",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [TEXT, {"type": "input_audio", "input_audio": {}}]}]},
            "messages[0].content[1]",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "a"}}]}]},
            "messages[0].content[0]",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "a", "images": ["iVBORw0KGgo="]}]},
            "messages[0].images",
        ),
        ("/v1/completions", {"prompt": [{"prompt": "a", "multi_modal_data": {}}]}, "prompt[0]"),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]}]},
            "input[0].content[0]",
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "a"}]}]},
            "input[0].content[0]",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_images_are_refused_where_they_stand(
    echo: Gateway, path: str, fields: Any, param: str, stream: bool
) -> None:
    status, error = echo.refusal(path, model=NAME, stream=stream, **fields)
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error"), error
    assert param in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_images_are_refused_where_they_stand(echo: Gateway, stream: bool) -> None:
    message = {"role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="]}
    status, told = echo.post("/api/chat", model=NAME, messages=[message], stream=stream)
    assert status == 400 and "'messages[0].images'" in told["error"]
    status, told = echo.post("/api/generate", model=NAME, prompt="a", images=["iVBORw0KGgo="], stream=stream)
    assert status == 400 and "'images'" in told["error"]
    # a client that has none may say so
    message["images"] = []
    assert echo.post("/api/chat", model=NAME, messages=[message], stream=False)[0] == 200


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": None}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": "hello"}, "messages"),
        (CHAT, {"messages": ["hello"]}, "messages[0]"),
        (CHAT, {"messages": [{"content": "a"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": {}}]}]}, "messages[0].content[0]"),
        (CHAT, {"messages": [{"role": [], "content": "a"}]}, "messages[0].role"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]},
            "messages[0].content[0]",
        ),
        (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
        (CHAT, {"temperature": 2.1}, "temperature"),
        (CHAT, {"temperature": -0.1}, "temperature"),
        (CHAT, {"temperature": "1"}, "temperature"),
        (CHAT, {"temperature": True}, "temperature"),
        (CHAT, {"temperature": 10**400}, "temperature"),
        (CHAT, {"top_p": 1.1}, "top_p"),
        (CHAT, {"presence_penalty": 2.1}, "presence_penalty"),
        (CHAT, {"frequency_penalty": -2.1}, "frequency_penalty"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"max_tokens": 2.5}, "max_tokens"),
        (CHAT, {"max_completion_tokens": 2**31}, "max_completion_tokens"),
        (CHAT, {"max_tokens": CONTEXT}, "messages"),
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"n": 65}, "n"),
        (CHAT, {"seed": 2**64}, "seed"),
        (CHAT, {"stop": 1}, "stop"),
        (CHAT, {"stop": ["a", 1]}, "stop"),
        (CHAT, {"stop": ["a"] * 65}, "stop"),
        (CHAT, {"logit_bias": {"a": 1}}, "logit_bias"),
        (CHAT, {"logit_bias": {"1": 101}}, "logit_bias"),
        (CHAT, {"logit_bias": {"1": "1"}}, "logit_bias"),
        (CHAT, {"logit_bias": {"99999999": 1}}, "logit_bias"),
        (CHAT, {"logprobs": 1}, "logprobs"),
        (CHAT, {"top_logprobs": 1}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (CHAT, {"stream": True, "stream_options": {"chunks": True}}, "chunks"),
        (CHAT, {"response_format": {"type": "xml"}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"store": True}, "store"),
        (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
        (CHAT, {"audio": {"voice": "alloy"}}, "audio"),
        (CHAT, {"functions": []}, "functions"),
        (CHAT, {"prompt": "a"}, "prompt"),
        (CHAT, {"max_token": 8}, "max_token"),
        (CHAT, {"timeout": 0}, "timeout"),
        (COMPLETIONS, {"prompt": None}, "prompt"),
        (COMPLETIONS, {"prompt": []}, "prompt"),
        (COMPLETIONS, {"prompt": ["a", [1]]}, "prompt"),
        (COMPLETIONS, {"prompt": [1.5]}, "prompt"),
        (COMPLETIONS, {"prompt": [-1]}, "prompt"),
        (COMPLETIONS, {"prompt": [2**31 - 1]}, "prompt"),
        (COMPLETIONS, {"prompt": [2**31]}, "prompt"),
        (COMPLETIONS, {"prompt": ["a"] * 257}, "prompt"),
        (COMPLETIONS, {"suffix": "b"}, "suffix"),
        (COMPLETIONS, {"best_of": 2}, "best_of"),
        (COMPLETIONS, {"echo": True, "logprobs": 1}, "logprobs"),
        (COMPLETIONS, {"logprobs": 21}, "logprobs"),
        (COMPLETIONS, {"messages": HELLO}, "messages"),
        ("/tokenize", {"messages": HELLO}, "messages"),
        ("/tokenize", {}, "prompt"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [99999999]}, "tokens"),
    ],
)
def test_refusals_name_the_parameter(echo: Gateway, path: str, fields: Any, param: str) -> None:
    usual = {CHAT: {"messages": HELLO}, COMPLETIONS: {"prompt": "a bird"}}.get(path, {})
    status, error = echo.refusal(path, **{"model": NAME, **usual, **fields})
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error"), error


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seed": 2**64}, f"'seed' is {2**64}, it must be {-(2**63)} to {2**64 - 1}"),
        ({"temperature": 2.5}, "'temperature' is 2.5, it must be 0 to 2"),
        ({"messages": [{"role": "alien"}]}, "'messages[0].role' is \"alien\", it must be one of"),
        ({"response_format": {"type": "xml"}}, "'response_format.type' is \"xml\", it must be text"),
        ({"store": True}, "'store': only false is taken"),
    ],
)
def test_refusals_say_what_was_found_and_what_is_taken(echo: Gateway, fields: Any, said: str) -> None:
    status, error = echo.refusal(CHAT, **{"model": NAME, "messages": HELLO, **fields})
    assert status == 400 and said in error["message"]


@pytest.mark.parametrize("path", ASKING)
def test_models_that_are_not_there(echo: Gateway, path: str) -> None:
    for model in ("nobody", "", "../scripted", "x" * 5000, "\ud800"):
        status, error = echo.refusal(path, model=model)
        assert status in (400, 404) and error["param"] == "model", error
    assert echo.refusal(path)[1]["param"] == "model"
    assert echo.refusal(path, model=7)[1]["param"] == "model"


def test_a_part_of_a_model_is_no_model(echo: Gateway) -> None:
    status, error = echo.refusal(CHAT, model=f"{NAME}_tokenizer", messages=HELLO)
    assert (status, error["code"]) == (404, "model_not_found")
    status, told = echo.get(f"/v1/models/{NAME}_tokenizer")
    assert (status, error_of(told)["code"]) == (404, "model_not_found")
    assert [one["id"] for one in echo.get("/v1/models")[1]["data"]] == [NAME]


def test_refused_by_the_engine(echo: Gateway) -> None:
    status, error = echo.refusal(CHAT, model=NAME, messages=[{"role": "user", "content": f"you {OFFENCE}"}])
    assert (status, error["message"]) == (400, "this engine takes offence")


@pytest.mark.parametrize("told", [True, False])
def test_a_body_that_is_too_large(echo: Gateway, told: bool) -> None:
    connection = http.client.HTTPConnection(echo.address, timeout=30)
    large = sendable({"model": NAME, "messages": [{"role": "user", "content": "a" * 2**20}]})
    try:
        connection.request("POST", CHAT, large if told else iter([large]), JSON, encode_chunked=not told)
        response = connection.getresponse()
        assert (response.status, error_of(json.loads(response.read()))["code"]) == (413, "too_large")
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_bodies_that_a_page_may_send_to_anyone_are_refused(echo: Gateway, kind: str) -> None:
    body = sendable({"model": NAME, "messages": HELLO})
    status, _, told = echo.request("POST", CHAT, body, {"Content-Type": kind})
    assert status == 415 and "application/json is expected" in error_of(json.loads(told))["message"]


def test_urls_and_methods_that_are_not_there(echo: Gateway) -> None:
    status, told = echo.get("/v2/nothing")
    assert (status, error_of(told)["code"]) == (404, "unknown_url")
    status, told = echo.get(CHAT)
    assert (status, error_of(told)["type"]) == (405, "invalid_request_error")


def test_the_published_openapi_names_every_endpoint(echo: Gateway) -> None:
    status, told = echo.get("/openapi.json")
    assert status == 200
    assert set(told["paths"]) >= {*ASKING, "/v1/models", "/v1/models/{model}", "/health"}
    where = told["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    chat = told["components"]["schemas"][where.rpartition("/")[2]]
    assert chat["required"] == ["model", "messages"]


def test_never_a_500(echo: Gateway) -> None:
    usual = {"model": NAME, "messages": HELLO, "prompt": "a bird", "input": "a bird", "max_tokens": 2}

    @settings(max_examples=150)
    @given(
        st.sampled_from(ASKING),
        st.dictionaries(st.sampled_from(PARAMETERS) | st.text(max_size=5), anything, max_size=3),
        st.sets(st.sampled_from(sorted(usual)), max_size=2),
    )
    def answers(path: str, fields: dict[str, Any], left_out: set[str]) -> None:
        own = {CHAT: "messages", RESPONSES: "input"}.get(path, "prompt")
        kept = {"model": NAME, own: usual[own]} | ({"max_tokens": 2} if path in (CHAT, COMPLETIONS) else {})
        body = {name: value for name, value in kept.items() if name not in left_out} | fields
        status, _, told = echo.request("POST", path, sendable(body))
        assert status < 500, (path, body, told)
        if status != 200:
            error_of(json.loads(told))

    answers()


def test_numbers_within_their_ranges_are_taken(echo: Gateway) -> None:
    @settings(max_examples=60)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0, 1),
                "presence_penalty": st.floats(-2, 2),
                "frequency_penalty": st.floats(-2, 2),
                "seed": st.integers(-(2**63), 2**64 - 1),
                "top_k": st.integers(-1, 2**31 - 1),
                "min_p": st.floats(0, 1),
                "stop": st.lists(st.text(max_size=5), max_size=4) | st.text(max_size=5),
                "logit_bias": st.dictionaries(
                    st.integers(0, 200).map(str), st.floats(-100, 100) | st.integers(-100, 100), max_size=3
                ),
                "n": st.integers(1, 3),
            },
        )
    )
    def taken(fields: dict[str, Any]) -> None:
        status, told = echo.post(CHAT, model=NAME, messages=HELLO, max_tokens=2, **fields)
        assert status == 200, told
        assert len(told["choices"]) == fields.get("n", 1)
        assert all(math.isfinite(value) for value in fields.values() if isinstance(value, float))

    taken()


def test_users_text_comes_back_as_it_was(echo: Gateway) -> None:
    @settings(max_examples=60)
    @given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
    def comes_back(text: str) -> None:
        if "((" in text or "))" in text:
            return  # the marks of this deployment's reasoning
        fields = {"model": NAME, "prompt": text, "echo": True, "max_tokens": 1}
        whole = echo.post(COMPLETIONS, **fields)[1]["choices"][0]["text"]
        assert whole.startswith(text)
        with echo.streaming(COMPLETIONS, **fields) as response:
            lines = [line[6:] for line in response.read().decode().split("\n") if line.startswith("data: {")]
        assert "".join(json.loads(line)["choices"][0]["text"] for line in lines) == whole

    comes_back()
