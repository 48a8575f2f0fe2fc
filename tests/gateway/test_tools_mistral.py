"""Mistral: answers as its models write them."""

from __future__ import annotations

import re

import pytest
from tool_answers import heard, letters, read

from builder.gateway import tools
from builder.gateway.tools import CallBegun

PARIS = '{"city": "Paris"}'
CALL = f'{{"name": "get_weather", "arguments": {PARIS}}}'


@pytest.mark.parametrize(
    ("text", "plain", "calls"),
    [
        (f"[TOOL_CALLS] [{CALL}]", "", [("get_weather", PARIS)]),
        (f"[TOOL_CALLS][{CALL}, {CALL}]", "", [("get_weather", PARIS)] * 2),
        # as it comes where control tokens are no part of the text
        (f" [{CALL},\n{CALL}]", "", [("get_weather", PARIS)] * 2),
        (f'[TOOL_CALLS][{CALL[:-1]}, "id": "abcDEF123"}}]', "", [("get_weather", PARIS)]),
        (f"[{CALL}] Done.", " Done.", [("get_weather", PARIS)]),
        (f"[{CALL}, 3]", ", 3]", [("get_weather", PARIS)]),
        (f"[{CALL} and]", " and]", [("get_weather", PARIS)]),
        (f"I look. [TOOL_CALLS][{CALL}]", "I look. ", [("get_weather", PARIS)]),
        (f"As in [{CALL}]", f"As in [{CALL}]", []),
        ("[1] Smith et al.", "[1] Smith et al.", []),
        ("[TOOL", "[TOOL", []),
        ("[TOOL_CALLS]get_weather[ARGS]{}", "[TOOL_CALLS]get_weather[ARGS]{}", []),
    ],
)
def test_answers(text, plain, calls):
    assert read("mistral", text) == (plain, calls)
    assert heard("mistral", letters(text)) == heard("mistral", [text])


def test_identifiers_are_those_that_its_templates_take():
    begun = tools.load("mistral").parser(["get_weather"]).feed(f"[TOOL_CALLS][{CALL}]")[0]
    assert isinstance(begun, CallBegun)
    assert re.fullmatch("[a-zA-Z0-9]{9}", begun.id)
