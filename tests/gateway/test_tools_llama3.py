"""Llama 3: answers as its models write them."""

from __future__ import annotations

import pytest
from tool_answers import heard, letters, read

PARIS = '{"city": "Paris"}'
CALL = f'{{"name": "get_weather", "parameters": {PARIS}}}'


@pytest.mark.parametrize(
    ("text", "plain", "calls"),
    [
        (CALL, "", [("get_weather", PARIS)]),
        (f"\n\n{CALL}\n", "", [("get_weather", PARIS)]),
        (f"<|python_tag|>{CALL}", "", [("get_weather", PARIS)]),
        (f"{CALL}; {CALL}", "", [("get_weather", PARIS)] * 2),
        (f"<|python_tag|>{CALL}; {CALL}", "", [("get_weather", PARIS)] * 2),
        (f"{CALL}\n{CALL}", "", [("get_weather", PARIS)] * 2),
        (f"[{CALL}, {CALL}]", "", [("get_weather", PARIS)] * 2),
        (f'{{"type": "function", {CALL[1:]}', "", [("get_weather", PARIS)]),
        (f"{CALL}; that is all", "; that is all", [("get_weather", PARIS)]),
        (f"Here: {CALL}", f"Here: {CALL}", []),
        (f"Here: <|python_tag|>{CALL}", "Here: ", [("get_weather", PARIS)]),
        # code for the built-in interpreter, which nobody offered
        ("<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
        (CALL.replace("get_weather", "unheard_of"), CALL.replace("get_weather", "unheard_of"), []),
    ],
)
def test_answers(text, plain, calls):
    assert read("llama3", text) == (plain, calls)
    assert heard("llama3", letters(text)) == heard("llama3", [text])
