"""Answers with tool calls: how each format writes them, and what is heard when they come in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from builder.gateway import tools
from builder.gateway.tools import Arguments, CallBegun, Event, Text

NAMES = ("get_weather", "get_time", "look-up")
FORMATS = tools.names()
Calls = Sequence[tuple[str, dict[str, Any]]]

WRITTEN = {
    "hermes": lambda calls: "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in calls),
    "llama3": "; ".join,
    "mistral": lambda calls: f"[TOOL_CALLS] [{', '.join(calls)}]",
}
KEYS = {"hermes": "arguments", "llama3": "parameters", "mistral": "arguments"}


def written(form: str, calls: Calls) -> str:
    """Return calls as a model of that format writes them."""
    key = KEYS[form]
    return WRITTEN[form]([json.dumps({"name": name, key: told}, ensure_ascii=False) for name, told in calls])


def heard(form: str, pieces: Iterable[str], *, forced: bool = False) -> list[Event]:
    """Return all events, neighbouring ones of a kind joined and identifiers left out."""
    parser = tools.load(form).parser(NAMES, forced=forced)
    events = [event for piece in pieces for event in parser.feed(piece)]
    events += parser.finish()
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, CallBegun):
            joined.append(CallBegun(event.index, "", event.name))
        elif isinstance(event, Text) and isinstance(last, Text):
            joined[-1] = Text(last.text + event.text)
        elif isinstance(event, Arguments) and isinstance(last, Arguments) and event.index == last.index:
            joined[-1] = Arguments(last.index, last.text + event.text)
        else:
            joined.append(event)
    return joined


def read(form: str, text: str, *, forced: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """Return the plain text and the (name, arguments) of an answer that comes in one piece."""
    plain, calls = tools.gathered(heard(form, [text], forced=forced))
    return plain, [(call.name, call.arguments) for call in calls]


def letters(text: str) -> list[str]:
    """Return a text cut between all of its characters."""
    return list(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["</tool_call>", "<tool_call>", "[TOOL_CALLS]", '"}]', "\\", '\\"', "{", "]; ["]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
    min_size=1,
    max_size=4,
)
SCRAPS = st.lists(
    st.sampled_from(
        [
            *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<tool", "[TOOL"),
            *(
                '{"name": "get_weather", "arguments": {"city": "Paris"}}',
                '{"name": "get_weather", ',
                '"type": ',
            ),
            *('"parameters": {', '"arguments": {"a": [1, {"b": "}"}]}', '{"name": "nobody"', '"function", '),
            *("{", "}", "[", "]", '"', "\\", ",", ";", " ", "\n", "get_weather", "Hello", "é🙂", "null"),
        ]
    ),
    max_size=14,
).map("".join)
"""Texts made of what calls are made of, mostly none."""


@st.composite
def cut(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> tuple[str, list[str]]:
    """Return a text, and the same in pieces."""
    text = draw(texts)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *places, len(text)]
    return text, [text[start:end] for start, end in pairwise(edges)]
