"""Answers in a form: response_format on real weights, by plain requests and by the client's own parsing."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import jsonschema
import openai
import pytest
from gateway_process import Gateway
from pydantic import BaseModel

pytestmark = [pytest.mark.triton, pytest.mark.slow]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FRANCE: Any = [{"role": "user", "content": "What is the capital of France? Answer in JSON."}]


class City(Enum):
    PARIS = "Paris"
    ROME = "Rome"


class Answer(BaseModel):
    capital: City
    sure: bool


SCHEMA = {
    "type": "object",
    "properties": {"capital": {"enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
    "required": ["capital", "sure"],
    "additionalProperties": False,
}


def form(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


@pytest.fixture
def ask(client: Any) -> Any:
    def asked(wanted: Any, **more: Any) -> Any:
        fields = {"temperature": 0, "max_tokens": 100, "messages": FRANCE} | more
        return client.chat.completions.create(model="smollm2", response_format=wanted, **fields)

    return asked


def test_any_object(ask: Any) -> None:
    # some object is the beginning of an endless one, but never anything else
    choice = ask({"type": "json_object"}).choices[0]
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_schema_is_kept(ask: Any, strict: bool | None) -> None:
    choice = ask(form(SCHEMA, strict=strict)).choices[0]
    assert choice.finish_reason == "stop"
    told = json.loads(choice.message.content)
    jsonschema.validate(told, SCHEMA)
    assert told["capital"] == "Paris"


def test_a_schema_is_kept_whatever_is_drawn(ask: Any) -> None:
    answers = ask(form(SCHEMA, strict=True), n=4, temperature=2, seed=1)
    for choice in answers.choices:
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)


def test_a_stream_keeps_it_too(ask: Any) -> None:
    chunks = list(ask(form(SCHEMA), stream=True))
    told = json.loads("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    jsonschema.validate(told, SCHEMA)


def test_a_completion_keeps_it_too(real: Gateway) -> None:
    fields = {"model": "smollm2", "prompt": "The capital of France in JSON:", "max_tokens": 100}
    status, told = real.post(COMPLETIONS, **fields, temperature=0, response_format=form(SCHEMA))
    assert status == 200
    jsonschema.validate(json.loads(told["choices"][0]["text"]), SCHEMA)


@pytest.mark.parametrize("where", ["beta", "final"])
def test_the_clients_own_parsing(client: Any, where: str) -> None:
    completions = client.beta.chat.completions if where == "beta" else client.chat.completions
    answer = completions.parse(
        model="smollm2", messages=FRANCE, response_format=Answer, temperature=0, max_tokens=100
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Answer) and parsed.capital is City.PARIS


def test_the_clients_own_parsing_of_a_stream(client: Any) -> None:
    with client.chat.completions.stream(
        model="smollm2", messages=FRANCE, response_format=Answer, temperature=0, max_tokens=100
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed.capital is City.PARIS


def test_an_answer_that_is_too_short_for_its_form(client: Any) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="smollm2", messages=FRANCE, response_format=Answer, temperature=0, max_tokens=3
        )


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        form("{}"),
        form(SCHEMA, strict="yes"),
        form({"not": {"type": "object"}}),
        form({"type": "nothing"}),
        form({"$ref": "https://example.com/schema"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_form_that_cannot_be_kept_is_refused_by_its_name(ask: Any, wanted: Any, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(wanted, stream=stream)
    assert caught.value.param == "response_format"
