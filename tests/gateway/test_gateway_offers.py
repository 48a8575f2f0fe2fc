"""What a chat's tools mean, in every format: read calls, forced calls, past calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_answers import CALLS, FORMATS, NAMES, Calls, written

from builder.gateway.protocol import offers
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.calls import Delta, message
from builder.gateway.triton.served import Served

TOOLS = [{"type": "function", "function": {"name": name}} for name in NAMES]


def model(form: str) -> Served:
    return Served("a", {}, {}, {"tool_format": form}, decoupled=True, most_rows=1)


def heard(form: str, pieces: list[str], **more: Any) -> tuple[list[Delta], str]:
    """Return the deltas of an answer that comes in pieces, and why it ended."""
    readers = offers.take(model(form), Body({"tools": TOOLS, **more})).readers
    assert readers is not None
    reader = readers()
    deltas = [delta for piece in pieces for delta in reader.push(piece)]
    return [*deltas, *reader.end()], reader.finish_reason("stop")


def called(deltas: list[Delta]) -> list[tuple[str, Any]]:
    calls = message(deltas).get("tool_calls", [])
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls]


@pytest.mark.parametrize("form", FORMATS)
def test_calls_in_any_pieces(form: str) -> None:
    @given(CALLS, st.integers(1, 9))
    def are_read(calls: Calls, size: int) -> None:
        text = written(form, calls)
        pieces = [text[place : place + size] for place in range(0, len(text), size)]
        deltas, reason = heard(form, pieces)
        assert (called(deltas), reason) == (list(calls), "tool_calls")
        assert called(heard(form, pieces, parallel_tool_calls=False)[0]) == list(calls[:1])
        first = next(delta for delta in deltas if "tool_calls" in delta)["tool_calls"][0]
        assert list(first) == ["index", "id", "type", "function"]
        assert first["function"] == {"name": calls[0][0], "arguments": ""}

    are_read()


@pytest.mark.parametrize("form", FORMATS)
def test_text_alone_ends_as_it_ends(form: str) -> None:
    deltas, reason = heard(form, ["a bird"])
    assert (message(deltas), reason) == ({"role": "assistant", "content": "a bird"}, "stop")


@pytest.mark.parametrize("form", FORMATS)
def test_a_call_that_is_forced(form: str) -> None:
    for choice, several in (
        ("required", True),
        ({"type": "function", "function": {"name": NAMES[0]}}, False),
    ):
        offer = offers.take(model(form), Body({"tools": TOOLS, "tool_choice": choice}))
        assert offer.inputs["guided_decoding_guide_type"] == "json_schema"
        assert (json.loads(offer.inputs["guided_decoding_guide"])["type"] == "array") == several
        assert set(offer.names) == set(offer.inputs)
    assert not offers.take(model(form), Body({"tools": TOOLS})).inputs


def test_a_format_of_a_newer_program_is_none() -> None:
    offer = offers.take(model("unheard_of"), Body({}))
    assert (offer.tools, offer.readers) == (None, None)
    with pytest.raises(Exception, match="tells of no format"):
        offers.take(model("unheard_of"), Body({"tools": TOOLS}))
