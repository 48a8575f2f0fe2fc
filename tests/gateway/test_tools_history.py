"""Past calls on their way to the model: templates take objects where OpenAI has text."""

from __future__ import annotations

import copy
import re

import pytest
from tool_answers import FORMATS

from builder.gateway import tools


def call(identifier, arguments, name="get_weather"):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identifier, content):
    return {"role": "tool", "tool_call_id": identifier, "content": content}


ASKED = {"role": "user", "content": "Where is it warm?"}
TALK = [
    ASKED,
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [call("call_a", '{"city": "Paris"}'), call("call_b", "")],
    },
    result("call_b", "cold"),
    result("call_a", "warm"),
    {"role": "assistant", "content": "In Paris."},
]


@pytest.mark.parametrize("form", FORMATS)
def test_arguments_become_objects_and_the_messages_given_stay_as_they_are(form):
    before = copy.deepcopy(TALK)
    told = tools.load(form).told(TALK)
    assert before == TALK
    found = [one["function"]["arguments"] for message in told for one in message.get("tool_calls", ())]
    assert found == [{"city": "Paris"}, {}]
    assert told[0] == ASKED
    assert told[-1] == TALK[-1]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (call("a", "{"), r"messages\[1\]\.tool_calls\[0\]\.function\.arguments is not valid JSON"),
        (call("a", "[1]"), r"messages\[1\]\.tool_calls\[0\]\.function\.arguments must be"),
        (call("a", "[" * 100_000), r"messages\[1\]\.tool_calls\[0\]\.function\.arguments is not valid JSON"),
        ({"id": "a"}, r"messages\[1\]\.tool_calls\[0\] must be"),
        (3, r"messages\[1\]\.tool_calls\[0\] must be"),
    ],
)
def test_what_cannot_be_told_is_named(form, wrong, field):
    with pytest.raises(ValueError, match=field):
        tools.load(form).told([ASKED, {"role": "assistant", "tool_calls": [wrong]}])


def test_hermes_keeps_the_messages():
    told = tools.load("hermes").told(TALK)
    assert [message["role"] for message in told] == [message["role"] for message in TALK]
    assert told[2:] == TALK[2:]


def test_llama3_has_a_message_for_each_call_and_its_result_behind_it():
    told = tools.load("llama3").told(TALK)
    seen = [
        (message["role"], [one["id"] for one in message.get("tool_calls", ())] or message["content"])
        for message in told
    ]
    assert seen == [
        ("user", ASKED["content"]),
        ("assistant", ["call_a"]),
        ("tool", "warm"),
        ("assistant", ["call_b"]),
        ("tool", "cold"),
        ("assistant", "In Paris."),
    ]
    assert [message["content"] for message in told if message.get("tool_calls")] == ["I look.", None]


def test_llama3_loses_no_result():
    stray = [*TALK[:2], result("call_a", "warm"), result("nobody", "stray"), result("call_a", "again")]
    told = tools.load("llama3").told(stray)
    assert [message["content"] for message in told if message["role"] == "tool"] == ["warm", "again", "stray"]


def test_mistral_identifiers_are_of_nine_characters_and_still_belong_together():
    told = tools.load("mistral").told(TALK)
    calls = [one["id"] for one in told[1]["tool_calls"]]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in calls)
    assert len(set(calls)) == 2
    assert [told[3]["tool_call_id"], told[2]["tool_call_id"]] == calls


def test_mistral_keeps_its_own_identifiers():
    own = [ASKED, {"role": "assistant", "tool_calls": [call("abcDEF123", "{}")]}, result("abcDEF123", "cold")]
    told = tools.load("mistral").told(own)
    assert (told[1]["tool_calls"][0]["id"], told[2]["tool_call_id"]) == ("abcDEF123", "abcDEF123")
