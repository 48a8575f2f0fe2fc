"""Hermes: answers as Qwen and Hermes models write them."""

from __future__ import annotations

import pytest
from tool_answers import heard, letters, read

PARIS = '{"city": "Paris"}'
CLOCK = '{"name": "get_time", "arguments": {}}'
CALL = f'<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "plain", "calls"),
    [
        (CALL, "", [("get_weather", PARIS)]),
        (f"I'll look.\n{CALL}", "I'll look.\n", [("get_weather", PARIS)]),
        (f"{CALL}\n{CALL}", "", [("get_weather", PARIS)] * 2),
        (f"\n\n{CALL}\n", "", [("get_weather", PARIS)]),
        (f"{CALL}\nDone.", "\nDone.", [("get_weather", PARIS)]),
        ('<tool_call>{"name":"get_time","arguments":{}}</tool_call>', "", [("get_time", "{}")]),
        # two in one block, and a list of them
        (
            f"<tool_call>\n{CLOCK}\n{CLOCK}\n</tool_call>",
            "",
            [("get_time", "{}")] * 2,
        ),
        (
            f"<tool_call>[{CLOCK}, {CLOCK}]</tool_call>",
            "",
            [("get_time", "{}")] * 2,
        ),
        # the closing mark forgotten
        (CALL.removesuffix("\n</tool_call>"), "", [("get_weather", PARIS)]),
        (CALL.removesuffix("</tool_call>") + "Done.", "\nDone.", [("get_weather", PARIS)]),
        (CALL.removesuffix("</tool_call>") + CALL, "", [("get_weather", PARIS)] * 2),
        (f"<tool_call>{CLOCK}</tool_call>".replace("_time", "\\u005ftime"), "", [("get_time", "{}")]),
        # one brace too many
        (
            '<tool_call>{"name": "get_time", "arguments": {}}}</tool_call>',
            "}</tool_call>",
            [("get_time", "{}")],
        ),
        # a call without a mark is an example, or an answer in JSON
        (
            f'{{"name": "get_weather", "arguments": {PARIS}}}',
            f'{{"name": "get_weather", "arguments": {PARIS}}}',
            [],
        ),
        ("a < b and <tool_box>", "a < b and <tool_box>", []),
        # arguments that never close end before what no JSON has outside of strings
        (
            '<tool_call>{"name": "get_time", "arguments": {"a": [1}</tool_call>',
            "</tool_call>",
            [("get_time", '{"a": [1}')],
        ),
    ],
)
def test_answers(text, plain, calls):
    assert read("hermes", text) == (plain, calls)
    assert heard("hermes", letters(text)) == heard("hermes", [text])


def test_marks_in_strings_are_text_of_the_arguments():
    told = '{"code": "print(\'</tool_call>\') # {\\"}"}'
    text = f'<tool_call>{{"name": "get_time", "arguments": {told}}}</tool_call>'
    assert read("hermes", text) == ("", [("get_time", told)])
