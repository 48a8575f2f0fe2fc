"""Ollama's endpoints by its own client: exact texts with the front that echoes, and smollm2's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
import tool_deployments
from echoing_repository import NAME
from gateway_process import Gateway

import builder

pytestmark = pytest.mark.triton
WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}},
        },
    }
]


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(calling: Gateway) -> Iterator[Any]:
    """Of the deployment that answers with its prompt."""
    made = ollama.Client(f"http://{calling.address}")
    yield made
    made._client.close()


def test_a_chat(client: Any) -> None:
    told = client.chat(NAME, [{"role": "system", "content": "a "}, *user("bird")])
    assert (told.message.role, told.message.content) == ("assistant", "a bird")
    assert (told.done, told.done_reason, told.model) == (True, "stop", NAME)
    assert told.prompt_eval_count == told.eval_count > 0
    assert told.total_duration >= told.prompt_eval_duration > 0


def test_a_streamed_chat(client: Any) -> None:
    lines = list(client.chat(NAME, user("a bird that sings"), stream=True))
    assert "".join(line.message.content for line in lines) == "a bird that sings"
    assert len(lines) > 2
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert (lines[-1].done_reason, lines[-1].eval_count) == ("stop", lines[-1].prompt_eval_count)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt(client: Any, stream: bool) -> None:
    told = client.generate(NAME, "a bird", system="so: ", stream=stream)
    lines = list(told) if stream else [told]
    assert "".join(line.response for line in lines) == "so: a bird"
    assert lines[-1].done


def test_a_prompt_as_it_stands(client: Any) -> None:
    assert client.generate(NAME, "a bird", raw=True).response.endswith("a bird")
    with pytest.raises(ollama.ResponseError, match="system"):
        client.generate(NAME, "a bird", raw=True, system="so")


def test_the_longest_answer(client: Any) -> None:
    told = client.generate(NAME, "a bird that sings", options={"num_predict": 1, "num_ctx": 4096})
    assert (told.eval_count, told.done_reason) == (1, "length")
    assert client.generate(NAME, "a bird", options={"num_predict": -1}).response == "a bird"


@pytest.mark.parametrize("stream", [False, True])
def test_who_asks_nothing_is_told_that_the_model_is_loaded(client: Any, stream: bool) -> None:
    asked: list[Any] = [
        client.generate(NAME, keep_alive="5m", stream=stream),
        client.chat(NAME, [], stream=stream),
    ]
    for told in asked:
        (line,) = list(told) if stream else [told]
        assert (line.done, line.done_reason, line.model) == (True, "load", NAME)


def test_nothing_is_loaded_under_another_name(client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="does not exist") as refused:
        client.generate("nobody")
    assert refused.value.status_code == 404


def test_addresses_that_are_not_there_are_told_of_by_a_text(client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="POST /api/show: Not Found"):
        client.show(NAME)


def test_the_version(calling: Gateway) -> None:
    assert calling.get("/api/version") == (200, {"version": builder.__version__})


@pytest.mark.parametrize("stream", [False, True])
def test_calls(client: Any, stream: bool) -> None:
    told = client.chat(NAME, user(f"so {WEATHER}"), tools=TOOLS, stream=stream)
    lines = list(told) if stream else [told]
    (call,) = [call for line in lines for call in line.message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    assert "".join(line.message.content for line in lines) == "[get_weather]so "


def test_past_calls_and_results(client: Any) -> None:
    messages = [
        *user("where? "),
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"city": "Paris"}}}]},
        {"role": "tool", "tool_name": "f", "content": " warm"},
    ]
    assert client.chat(NAME, messages).message.content == "where? <f Paris> warm"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking(client: Any, stream: bool) -> None:
    told = client.chat(NAME, user("so ((I think)) yes"), think=True, stream=stream)
    messages = [line.message for line in told] if stream else [told.message]
    assert "".join(one.content for one in messages) == "so  yes"
    assert "".join(one.thinking or "" for one in messages) == "I think"


def test_models(client: Any) -> None:
    assert [one.model for one in client.list().models] == [NAME]
    assert client.chat(f"{NAME}:latest", user("a")).message.content == "a"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"model": "nobody"}, 404, "'nobody' does not exist"),
        ({"messages": [{"role": "robot", "content": "a"}]}, 400, "role"),
        ({"options": {"mirostat": 1}}, 400, "mirostat"),
        ({"options": {"temperature": 9}}, 400, "temperature"),
        ({"format": {"type": "object"}, "tools": TOOLS}, 400, "format"),
        ({"messages": user("a " * 500)}, 400, "the context holds"),
    ],
)
def test_refusals(client: Any, stream: bool, fields: Any, status: int, said: str) -> None:
    with pytest.raises(ollama.ResponseError, match=said) as caught:
        told = client.chat(**{"model": NAME, "messages": user("a bird"), "stream": stream} | fields)
        if stream:
            list(told)
    assert caught.value.status_code == status


@pytest.mark.parametrize("name", ["template", "suffix", "context", "images"])
def test_what_a_prompt_cannot_have_is_refused_by_its_name(calling: Gateway, name: str) -> None:
    status, told = calling.post("/api/generate", model=NAME, prompt="a", **{name: "b"})
    assert (status, told) == (400, {"error": f"Unsupported parameter: '{name}'"})


@pytest.fixture(scope="module")
def smollm2(tools: Gateway) -> Iterator[Any]:
    made = ollama.Client(f"http://{tools.address}")
    yield made
    made._client.close()


@pytest.mark.slow
def test_real_answers(smollm2: Any) -> None:
    """What each option does."""

    def ask(**options: Any) -> str:
        asked = {"temperature": 0, "num_predict": 24, **options}
        told = smollm2.chat(tool_deployments.SMOLLM2, user("Write a poem about the sea."), options=asked)
        return str(told.message.content)

    plain = ask()
    assert plain and ask() == plain
    drawn = [ask(temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert ask(temperature=1.5, top_k=1) == plain
    word = plain.split()[1]
    assert ask(stop=[word]) == plain[: plain.index(word)]
    assert ask(repeat_penalty=2.0) != plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["json", {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}]
)
def test_forms_of_real_answers(smollm2: Any, form: Any) -> None:
    options = {"temperature": 0, "num_predict": 300}
    told = smollm2.generate(tool_deployments.SMOLLM2, "Give me some JSON.", format=form, options=options)
    if form != "json":
        assert json.loads(told.response)["a"] == 1
    elif told.done_reason == "stop":
        assert isinstance(json.loads(told.response), dict)
    else:
        assert told.response.lstrip().startswith("{")


@pytest.mark.slow
def test_streams_of_real_answers(tools: Gateway) -> None:
    """By the asynchronous client, and held to a form."""
    form = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}

    async def ask() -> list[Any]:
        client = ollama.AsyncClient(f"http://{tools.address}")
        stream = await client.chat(
            tool_deployments.SMOLLM2,
            user("What is the capital of France? Answer in JSON."),
            format=form,
            options={"temperature": 0, "num_predict": 100},
            stream=True,
        )
        lines = [line async for line in stream]
        await client._client.aclose()
        return lines

    *lines, last = asyncio.run(ask())
    assert len(lines) > 2 and last.done and not any(line.done for line in lines)
    assert json.loads("".join(line.message.content for line in [*lines, last]))["capital"] == "Paris"
    assert last.eval_count > 2 and last.done_reason == "stop"


@pytest.mark.slow
def test_results_of_calls_go_to_real_weights(smollm2: Any) -> None:
    """Past calls and their results are told to the model by its own template."""
    messages = user("What is the weather in Paris?")
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    past = [
        *messages,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "It is sunny in Paris."},
    ]
    options = {"temperature": 0, "num_predict": 40}
    before = smollm2.chat(tool_deployments.SMOLLM2, messages, tools=TOOLS, options=options)
    after = smollm2.chat(tool_deployments.SMOLLM2, past, tools=TOOLS, options=options)
    assert after.prompt_eval_count > before.prompt_eval_count + 20
    without = smollm2.chat(tool_deployments.SMOLLM2, messages, options=options)
    assert before.prompt_eval_count > without.prompt_eval_count + 20
