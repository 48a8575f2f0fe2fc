"""What holds for every format of tool calls, for any text and however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_answers import CALLS, FORMATS, KEYS, NAMES, SCRAPS, cut, heard, letters, read, written

from builder.gateway import tools
from builder.gateway.tools import CallBegun, Text

pytestmark = pytest.mark.parametrize("form", FORMATS)
OPENINGS = {"hermes": "<tool_call>", "llama3": "<|python_tag|>", "mistral": "[TOOL_CALLS]"}


@given(calls=CALLS)
def test_what_is_written_is_read(form, calls):
    plain, found = read(form, written(form, calls))
    assert plain == ""
    assert [(name, json.loads(told)) for name, told in found] == calls


@given(calls=CALLS)
def test_arguments_are_the_very_text_that_was_written(form, calls):
    _, found = read(form, written(form, calls))
    assert [told for _, told in found] == [json.dumps(told, ensure_ascii=False) for _, told in calls]


@pytest.mark.parametrize("forced", [False, True])
@given(told=cut(SCRAPS | st.text()))
def test_no_cut_changes_what_is_heard(form, forced, told):
    text, pieces = told
    assert heard(form, pieces, forced=forced) == heard(form, [text], forced=forced)


@given(told=st.data())
def test_no_cut_changes_calls_with_text_around_them(form, told):
    around = told.draw(st.text(max_size=5)) if form == "hermes" else ""
    whole = around + written(form, told.draw(CALLS)) + told.draw(st.text(max_size=5))
    text, pieces = told.draw(cut(st.just(whole)))
    assert heard(form, pieces) == heard(form, letters(text)) == heard(form, [text])


@given(told=cut(st.text().filter(lambda text: not set("<[{") & set(text))))
def test_a_text_without_marks_passes_unchanged(form, told):
    text, pieces = told
    assert heard(form, pieces) == ([Text(text)] if text else [])


@given(text=st.text(alphabet=st.characters(exclude_characters="<[{", exclude_categories=["Cs"]), min_size=1))
def test_a_text_without_marks_goes_on_at_once(form, text):
    parser = tools.load(form).parser(NAMES)
    said = "".join(event.text for piece in letters(f"Well, {text}.") for event in parser.feed(piece))
    assert said == f"Well, {text}."


@pytest.mark.parametrize("forced", [False, True])
@given(text=SCRAPS)
def test_where_no_call_is_read_the_text_is_whole(form, forced, text):
    events = heard(form, [text], forced=forced)
    if not any(isinstance(event, CallBegun) for event in events):
        assert "".join(event.text for event in events) == text


@given(text=SCRAPS)
def test_what_is_heard_stands_in_the_text_in_that_order(form, text):
    place = 0
    for event in heard(form, [text]):
        told = event.name if isinstance(event, CallBegun) else event.text
        place = text.index(told, place) + len(told)


@given(calls=CALLS, size=st.integers(0, 400))
def test_an_answer_that_breaks_off(form, calls, size):
    """Whole calls stay whole, the last one's arguments end where the answer does."""
    text = written(form, calls)[:size]
    _, found = read(form, text)
    for number, (name, told) in enumerate(found):
        assert name == calls[number][0]
        assert json.dumps(calls[number][1], ensure_ascii=False).startswith(told)
        assert number == len(found) - 1 or json.loads(told) == calls[number][1]


def test_arguments_come_as_they_are_written(form):
    parser = tools.load(form).parser(NAMES)
    text = written(form, [("get_weather", {"city": "Paris", "days": 3})])
    told = [event for piece in letters(text) for event in parser.feed(piece)]
    first, *pieces = told
    assert isinstance(first, CallBegun)
    assert len(pieces) == len('{"city": "Paris", "days": 3}')


def test_every_call_has_an_identifier_of_its_own(form):
    parser = tools.load(form).parser(NAMES)
    events = parser.feed(written(form, [("get_time", {})] * 50)) + parser.finish()
    identifiers = [event.id for event in events if isinstance(event, CallBegun)]
    assert len(set(identifiers)) == 50
    assert all(identifiers)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": 42}',
        '{"name": "Bob", "age": 3}',
        '{"name": "get_weather", "result": 3}',
        '{"name": "get_weather", "arguments": "none"}',
        '{"name": "get_weather"}',
        "[1, 2, 3]",
        '[{"name": "Bob", "arguments": {}}]',
        "{}",
        "[]",
        "  {",
        "\n\n",
    ],
)
@pytest.mark.parametrize("forced", [False, True])
def test_json_that_is_no_call_is_text(form, text, forced):
    assert heard(form, letters(text), forced=forced) == [Text(text)]


def test_json_that_is_no_call_is_not_held_back(form):
    """It goes on with the first character that no call has there."""
    parser = tools.load(form).parser(NAMES)
    assert "".join(event.text for event in parser.feed('{"name": "gi')) == '{"name": "gi'
    assert [event.text for event in parser.feed(" more")] == [" more"]


@pytest.mark.parametrize(
    "after",
    [
        *("", " once more", "<tool_call", "{", "\n<b>", '{"name": 3}', '{"name": ""'),
        # half of a surrogate pair cannot be sent on
        '{"name": "\\ud800", "arguments": {}}',
    ],
)
def test_a_mark_without_a_call_is_text(form, after):
    text = f"I write {OPENINGS[form]}{after}"
    assert heard(form, letters(text)) == [Text(text)]


def test_a_call_behind_a_mark_without_one(form):
    mark, key = OPENINGS[form], KEYS[form]
    text = f'I write {mark} and {mark}{{"name": "get_time", "{key}": {{}}}}'
    assert read(form, text) == (f"I write {mark} and ", [("get_time", "{}")])


def test_a_marked_call_of_a_function_that_was_not_offered_is_told(form):
    """Whoever asked can say so to the model; as text it would end the turn."""
    text = f'{OPENINGS[form]}{{"name": "unheard_of", "{KEYS[form]}": {{}}}}'
    assert read(form, text) == ("", [("unheard_of", "{}")])


@given(told=cut(CALLS.map(lambda calls: json.dumps([{"name": n, "arguments": a} for n, a in calls]))))
def test_forced_calls_have_no_marks(form, told):
    text, pieces = told
    events = heard(form, pieces, forced=True)
    assert not any(isinstance(event, Text) for event in events)
    _, calls = tools.gathered(events)
    assert [{"name": call.name, "arguments": json.loads(call.arguments)} for call in calls] == json.loads(
        text
    )
