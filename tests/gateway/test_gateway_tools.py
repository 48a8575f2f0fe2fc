"""Tools through the gateway: exact texts with the front that echoes, and calls that smollm2 writes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import tool_deployments
from echoing_repository import NAME
from gateway_process import Gateway, error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

pytestmark = pytest.mark.triton
CHAT = "/v1/chat/completions"
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
TIME = {"type": "object", "properties": {"zone": {"enum": ["UTC"]}}, "required": ["zone"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
]
WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
CLOCK = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def echo_client(calling: Gateway) -> Iterator[Any]:
    with openai.OpenAI(base_url=calling.url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def ask(echo_client: Any) -> Any:
    """Ask the front that answers with its prompt: the names of the tools, then the messages."""

    def asked(text: str, **more: Any) -> Any:
        return echo_client.chat.completions.create(**{"model": NAME, "messages": user(text)} | more)

    return asked


def called(message: Any) -> list[tuple[str, str]]:
    return [(one.function.name, one.function.arguments) for one in message.tool_calls or []]


def test_models_that_take_tools_say_so(echo_client: Any) -> None:
    (model,) = echo_client.models.list()
    assert model.capabilities == {"completion_chat": True, "function_calling": True, "vision": False}


def test_calls_are_told_as_openai_does(ask: Any) -> None:
    choice = ask(f"so: {WEATHER}\n{CLOCK}", tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "[get_weather][get_time]so: "
    assert called(choice.message) == [("get_weather", '{"city": "Paris"}'), ("get_time", "{}")]
    identifiers = [one.id for one in choice.message.tool_calls]
    assert len(set(identifiers)) == 2 and all(one.startswith("call_") for one in identifiers)
    assert {one.type for one in choice.message.tool_calls} == {"function"}


def test_streamed_calls(ask: Any) -> None:
    chunks = [chunk.choices[0] for chunk in ask(f"so: {WEATHER}\n{CLOCK}", tools=TOOLS, stream=True)]
    assert [one.finish_reason for one in chunks] == [None] * (len(chunks) - 1) + ["tool_calls"]
    assert "".join(one.delta.content or "" for one in chunks) == "[get_weather][get_time]so: "
    parts = [part for one in chunks for part in one.delta.tool_calls or ()]
    for index, name, arguments in ((0, "get_weather", '{"city": "Paris"}'), (1, "get_time", "{}")):
        first, *rest = [part for part in parts if part.index == index]
        assert (first.function.name, first.function.arguments, first.type) == (name, "", "function")
        assert first.id and all(part.id is None and part.function.name is None for part in rest)
        assert "".join(part.function.arguments for part in rest) == arguments
    # in pieces, as the front made them
    assert len([part for part in parts if part.index == 0]) > 3


def test_the_clients_own_reading_of_a_stream(echo_client: Any) -> None:
    with echo_client.chat.completions.stream(model=NAME, messages=user(WEATHER), tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert called(final.choices[0].message) == [("get_weather", '{"city": "Paris"}')]


def test_the_clients_own_parsing_of_arguments(echo_client: Any) -> None:
    class GetWeather(BaseModel):
        city: str

    text = WEATHER.replace("get_weather", "GetWeather")
    answer = echo_client.chat.completions.parse(
        model=NAME, messages=user(text), tools=[openai.pydantic_function_tool(GetWeather)]
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.parsed_arguments == GetWeather(city="Paris")


def test_an_answer_without_a_call_is_a_text(ask: Any) -> None:
    choice = ask("a bird", tools=TOOLS).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content == "[get_weather][get_time]a bird"


def test_a_call_that_is_cut_off_is_no_whole_call(ask: Any) -> None:
    choice = ask(WEATHER, tools=TOOLS, max_tokens=40).choices[0]
    assert choice.finish_reason == "length"


def test_none_offers_nothing(ask: Any) -> None:
    choice = ask(WEATHER, tools=TOOLS, tool_choice="none").choices[0]
    assert (choice.message.content, choice.message.tool_calls) == (WEATHER, None)


def test_one_call_where_several_are_not_wanted(ask: Any) -> None:
    asked = {"tools": TOOLS, "parallel_tool_calls": False}
    assert called(ask(f"{WEATHER}\n{CLOCK}", **asked).choices[0].message) == [
        ("get_weather", '{"city": "Paris"}')
    ]


def test_several_answers_have_calls_of_their_own(ask: Any) -> None:
    answers = ask(WEATHER, tools=TOOLS, n=2, temperature=1)
    calls = [choice.message.tool_calls[0] for choice in answers.choices]
    assert [one.function.name for one in calls] == ["get_weather"] * 2
    assert calls[0].id != calls[1].id


def test_past_calls_reach_the_template_as_objects(ask: Any) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris"}'}}
    messages = [
        *user("where? "),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": " warm"},
    ]
    assert ask("", messages=messages).choices[0].message.content == "where? <f Paris> warm"


def test_log_probabilities_beside_calls(ask: Any) -> None:
    choice = ask(WEATHER, tools=TOOLS, logprobs=True).choices[0]
    assert called(choice.message) == [("get_weather", '{"city": "Paris"}')]


def test_reasoning_is_told_apart(ask: Any) -> None:
    """What stands between the marks of this deployment, (( and ))."""
    message = ask("so ((I think)) yes").choices[0].message
    assert (message.content, message.reasoning_content) == ("so  yes", "I think")
    deltas = [chunk.choices[0].delta for chunk in ask("so ((I think)) yes", stream=True)]
    assert "".join(one.content or "" for one in deltas) == "so  yes"
    assert "".join(getattr(one, "reasoning_content", "") for one in deltas) == "I think"
    assert not hasattr(ask("plain").choices[0].message, "reasoning_content")


def test_reasoning_before_a_call(ask: Any) -> None:
    choice = ask(f"((I think)){WEATHER}", tools=TOOLS, stream=False).choices[0]
    assert choice.message.reasoning_content == "I think"
    assert called(choice.message) == [("get_weather", '{"city": "Paris"}')]


BROKEN = {"name": "f", "arguments": "["}


def function(**told: Any) -> Any:
    return [{"type": "function", "function": {"name": "f", **told}}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": ["f"]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": function(name="a b")}, "tools[0].function.name"),
        ({"tools": function(name=7)}, "tools[0].function.name"),
        ({"tools": function(parameters="{}")}, "tools[0].function.parameters"),
        ({"tools": function(strict="yes")}, "tools[0].function.strict"),
        ({"tools": function(description="\ud800")}, "tools"),
        ({"tools": function() * 2}, "tools"),
        ({"tools": function() * 129}, "tools"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": ["a"]}]}, "messages[0].tool_calls[0]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": BROKEN}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_refusals_name_the_field(calling: Gateway, fields: Any, param: str) -> None:
    status, error = calling.refusal(CHAT, **{"model": NAME, "messages": user("a bird"), **fields})
    assert (status, error["param"]) == (400, param), error


def test_never_a_500(calling: Gateway) -> None:
    """Whatever stands in the place of tools, calls and choices."""
    names = st.sampled_from(["type", "function", "name", "parameters", "arguments", "strict", "id", "a"])
    texts = st.sampled_from(["function", "f", "g", "[", "{}", "object", "required", "none", "\ud800", ""])
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    )
    offered = st.fixed_dictionaries({"name": st.just("f")}, optional={"parameters": anything})
    tools = st.lists(
        anything | st.builds(lambda told: {"type": "function", "function": told}, offered), max_size=2
    )
    called = st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": texts, "arguments": anything})}
    )

    @settings(max_examples=150)
    @given(tools | anything, anything, st.lists(called | anything, max_size=2) | anything)
    def answers(tools: Any, choice: Any, calls: Any) -> None:
        past = {"role": "assistant", "content": "so", "tool_calls": calls}
        body = {"model": NAME, "messages": [*user("a"), past], "tools": tools, "tool_choice": choice}
        status, told = calling.post(CHAT, **body, max_tokens=2)
        assert status < 500, (body, told)
        if status != 200:
            error_of(told)

    answers()


def test_a_model_without_a_format(echo: Gateway) -> None:
    status, error = echo.refusal(CHAT, model=NAME, messages=user("a"), tools=TOOLS)
    assert (status, error["param"], error["code"]) == (400, "tools", "unsupported_parameter")
    assert "tells of no format for tool calls" in error["message"]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for message, param in (
        ({"role": "assistant", "tool_calls": [call]}, "messages[0].tool_calls"),
        ({"role": "tool", "tool_call_id": "a", "content": "b"}, "messages[0].role"),
    ):
        assert echo.refusal(CHAT, model=NAME, messages=[message])[1]["param"] == param
    assert echo.post(CHAT, model=NAME, messages=user("a"), tools=TOOLS, tool_choice="none")[0] == 200


# -- what real weights write ---------------------------------------------------------------------------------


@pytest.fixture
def smollm2(tools_client: Any) -> Any:
    def ask(**more: Any) -> Any:
        fields = {"temperature": 0, "max_tokens": 100, "tools": TOOLS} | more
        messages = user("What is the weather in Rome?")
        return tools_client.chat.completions.create(
            model=tool_deployments.SMOLLM2, **{"messages": messages} | fields
        )

    return ask


def require_fitting(call: Any) -> None:
    """See that a call is one of those offered, with arguments that its schema takes."""
    arguments = json.loads(call.function.arguments)
    if call.function.name == "get_weather":
        assert arguments["city"] in ("Paris", "Rome")
    else:
        assert call.function.name == "get_time" and arguments["zone"] == "UTC"


@pytest.mark.slow
def test_a_required_call_on_real_weights(smollm2: Any) -> None:
    choice = smollm2(tool_choice="required", parallel_tool_calls=False).choices[0]
    assert choice.finish_reason == "tool_calls" and not choice.message.content
    (call,) = choice.message.tool_calls
    require_fitting(call)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["get_weather", "get_time"])
def test_a_function_by_its_name_on_real_weights(smollm2: Any, name: str) -> None:
    chosen = {"type": "function", "function": {"name": name}}
    chunks = [chunk.choices[0] for chunk in smollm2(tool_choice=chosen, stream=True)]
    parts = [part for one in chunks for part in one.delta.tool_calls or ()]
    assert chunks[-1].finish_reason == "tool_calls"
    assert parts[0].function.name == name
    arguments = json.loads("".join(part.function.arguments for part in parts))
    assert arguments["city" if name == "get_weather" else "zone"] in ("Paris", "Rome", "UTC")


@pytest.mark.slow
def test_several_required_calls_on_real_weights(smollm2: Any) -> None:
    choice = smollm2(tool_choice="required").choices[0]
    *whole, last = choice.message.tool_calls
    for call in whole if choice.finish_reason == "length" else [*whole, last]:
        require_fitting(call)


@pytest.mark.slow
def test_the_result_of_a_call_goes_back_to_real_weights(smollm2: Any) -> None:
    first = smollm2(tool_choice="required", parallel_tool_calls=False).choices[0].message
    messages = [
        *user("What is the weather in Rome?"),
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "It is sunny in Rome."},
    ]
    before = smollm2(messages=messages[:1], tool_choice="auto").usage.prompt_tokens
    after = smollm2(messages=messages, tool_choice="auto")
    assert after.usage.prompt_tokens > before + 20
    assert after.choices[0].message.content or after.choices[0].message.tool_calls


@pytest.mark.slow
def test_a_schema_that_cannot_be_followed_names_the_tools(smollm2: Any) -> None:
    never = [{"type": "function", "function": {"name": "f", "parameters": {"not": {"type": "object"}}}}]
    with pytest.raises(openai.BadRequestError) as caught:
        smollm2(tools=never, tool_choice="required")
    assert caught.value.param == "tools"
