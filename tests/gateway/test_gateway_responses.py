"""/v1/responses by the official client: exact texts with the front that echoes, and smollm2's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from echoing_repository import NAME
from gateway_process import Gateway, error_of
from pydantic import BaseModel

pytestmark = pytest.mark.triton
PATH = "/v1/responses"
ORDER = [
    *("response.created", "response.in_progress", "response.output_item.added"),
    *("response.content_part.added", "response.output_text.delta", "response.output_text.done"),
    *("response.content_part.done", "response.output_item.done", "response.completed"),
]


@pytest.fixture(scope="module")
def echo_client(calling: Gateway) -> Iterator[Any]:
    """Its template is the texts of all messages, one behind the other."""
    with openai.OpenAI(base_url=calling.url, api_key="none", max_retries=0) as made:
        yield made


def test_a_response(echo_client: Any) -> None:
    told = echo_client.responses.create(model=NAME, input="a bird", metadata={"a": "b"}, top_p=0.5)
    assert (told.object, told.status, told.output_text) == ("response", "completed", "a bird")
    assert told.id.startswith("resp_") and told.output[0].id.startswith("msg_")
    assert (told.metadata, told.top_p, told.error) == ({"a": "b"}, 0.5, None)
    assert told.usage.input_tokens == told.usage.output_tokens > 0
    assert told.usage.total_tokens == 2 * told.usage.input_tokens
    assert told.model_dump()["store"] is False


def test_a_conversation_and_instructions(echo_client: Any) -> None:
    items = [
        {"role": "developer", "content": "two "},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "three "}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "four ", "annotations": []}],
        },
        {"role": "user", "content": "five"},
    ]
    told = echo_client.responses.create(model=NAME, input=items, instructions="one ")
    assert told.output_text == "one two three four five"
    assert told.instructions == "one "


def test_an_answer_goes_back_as_it_came(echo_client: Any) -> None:
    first = echo_client.responses.create(model=NAME, input="a bird")
    items = [*first.output, {"role": "user", "content": " sings"}]
    assert echo_client.responses.create(model=NAME, input=items).output_text == "a bird sings"


def test_events_of_a_stream(echo_client: Any) -> None:
    events = list(echo_client.responses.create(model=NAME, input="a bird that sings", stream=True))
    assert list(dict.fromkeys(event.type for event in events)) == ORDER
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1 and "".join(event.delta for event in deltas) == "a bird that sings"
    last = events[-1].response
    assert (last.status, last.output_text) == ("completed", "a bird that sings")
    assert last.usage.output_tokens > 0
    assert {event.item_id for event in deltas} == {last.output[0].id}
    assert events[0].response.id == last.id


def test_the_clients_own_reading_of_a_stream(echo_client: Any) -> None:
    with echo_client.responses.stream(model=NAME, input="a bird") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "a bird"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut(echo_client: Any, stream: bool) -> None:
    told = echo_client.responses.create(model=NAME, input="a bird", max_output_tokens=1, stream=stream)
    if stream:
        *_, last = told
        assert last.type == "response.incomplete"
        told = last.response
    assert (told.status, told.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert told.usage.output_tokens == told.max_output_tokens == 1


@pytest.mark.slow
def test_an_error_in_the_middle_is_an_event(real: Gateway) -> None:
    fields = {"model": "smollm2", "input": "Write a poem.", "ignore_eos": True}
    with real.streaming(PATH, **fields, timeout=1.5) as response:
        lines = [line.decode().strip() for line in response]
    kinds = [line[7:] for line in lines if line.startswith("event: ")]
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert kinds[-1] == told[-1]["type"] == "error" and told[-1]["code"] == "timeout"
    assert kinds[0] == "response.created" and "response.completed" not in kinds


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["a"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": "\ud800"}, "input"),
        ({"instructions": 7}, "instructions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"prompt": {"id": "a"}}, "prompt"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 100_000}, "input"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"messages": []}, "messages"),
    ],
)
def test_refusals_name_the_parameter(calling: Gateway, fields: Any, param: str) -> None:
    status, error = calling.refusal(PATH, **{"model": NAME, "input": "a bird", **fields})
    assert (status, error["param"]) == (400, param), error


def test_what_changes_nothing_is_accepted(calling: Gateway) -> None:
    fields = {"store": False, "truncation": "disabled", "tools": [], "tool_choice": "auto", "include": []}
    more = {"parallel_tool_calls": True, "text": {"format": {"type": "text"}}, "user": "a", "reasoning": {}}
    status, told = calling.post(PATH, model=NAME, input="a bird", **fields, **more)
    assert (status, told["output"][0]["content"][0]["text"]) == (200, "a bird")


def test_a_model_that_is_not_there(calling: Gateway) -> None:
    status, told = calling.post(PATH, model="nobody", input="a")
    assert (status, error_of(told)["code"]) == (404, "model_not_found")


@pytest.mark.slow
def test_real_answers(client: Any) -> None:
    question = "What is the capital of France?"
    told = client.responses.create(model="smollm2", input=question, temperature=0)
    assert told.output_text == "The capital of France is Paris."
    assert told.status == "completed"


class City(BaseModel):
    capital: str


@pytest.mark.slow
def test_a_form_of_real_answers(client: Any) -> None:
    question = "What is the capital of France? Answer in JSON."
    told = client.responses.parse(
        model="smollm2", input=question, text_format=City, temperature=0, max_output_tokens=60
    )
    assert isinstance(told.output_parsed, City)
