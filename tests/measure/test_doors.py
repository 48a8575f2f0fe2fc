"""The doors that speak HTTP, against a small endpoint whose manners are known."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fake_openai import FakeOpenAi
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.measuring import events, fields, front, place
from builder.measuring.door import Answer, Heard
from builder.measuring.doors import http, openai
from builder.measuring.errors import MeasureError, Refused
from builder.measuring.task import Asking

Start = Callable[..., FakeOpenAi]


def asked(fake: FakeOpenAi, times: int = 1, **options: Any) -> tuple[list[Answer], list[Heard]]:
    """Ask an endpoint so many times, one after the other."""
    there = place.openai(fake.url, model="m", key=None, output_tokens=9, extra=options)

    async def ask() -> tuple[list[Answer], list[Heard]]:
        door = openai.create(there.asking)
        heard: list[Heard] = []
        try:
            for _ in range(times):
                heard.append([])
                await door.ask("Hello", heard[-1])
        finally:
            await door.close()
        return [door.read(one) for one in heard], heard

    return asyncio.run(ask())


def test_a_chat_is_streamed_and_counted(fake: Start) -> None:
    endpoint = fake(words=6, pause=0.01)
    [answer], [heard] = asked(endpoint)
    assert answer.tokens == [1.0] * 6
    assert answer.input_tokens == 7
    assert answer.seconds == sorted(answer.seconds)
    # every word waited for its pause, whatever else took time
    assert heard[-1][0] - heard[0][0] >= 5 * 0.01
    assert endpoint.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0,
        }
    ]


def test_usage_says_how_many_tokens_the_deltas_held(fake: Start) -> None:
    [answer], _ = asked(fake(words=4, tokens=10))
    assert answer.tokens == [2.5] * 4


def test_deltas_are_counted_where_usage_is_unknown(fake: Start) -> None:
    endpoint = fake(words=3, knows_usage=False)
    answers, _ = asked(endpoint, times=2)
    assert [answer.tokens for answer in answers] == [[1.0] * 3] * 2
    assert answers[0].input_tokens is None
    # asked for once, then never again
    assert ["stream_options" in body for body in endpoint.bodies] == [True, False, False]


def test_extra_fields_are_merged_and_null_leaves_one_out(fake: Start) -> None:
    endpoint = fake()
    asked(endpoint, ignore_eos=True, temperature=None)
    assert endpoint.bodies[0]["ignore_eos"] is True
    assert "temperature" not in endpoint.bodies[0]


@pytest.mark.parametrize(
    ("manners", "said"),
    [
        ({"status": 500}, "HTTP 500: out of order"),
        ({"key": "secret"}, "HTTP 401: wrong key"),
        ({"error_after": 2}, "the engine died"),
        ({"error_after": 0}, "the engine died"),
        ({"broken_after": 2}, "not completed"),
    ],
)
def test_what_goes_wrong_is_named(fake: Start, manners: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        asked(fake(**manners))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"data: [DONE]\n\n", "the answer ended without a single token"),
        (b"data: {not json\n\ndata: [DONE]\n\n", "an event that is no JSON: {not json"),
        (b'data: {"choices": 5}\n\ndata: [DONE]\n\n', "an event that is none of a chat"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n', "without a single token"),
        (b'data: {"usage": {"completion_tokens": 1}}\n\ndata: [DONE]\n\n', "without a single token"),
    ],
)
def test_an_answer_that_says_nothing_is_an_error(fake: Start, raw: bytes, said: str) -> None:
    [answer], _ = asked(fake(raw=raw))
    assert said in answer.error


def test_an_answer_may_end_at_once_where_its_token_is_counted(fake: Start) -> None:
    end = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    [answer], _ = asked(fake(raw=end + b'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\n'))
    assert (answer.error, answer.tokens, len(answer.seconds)) == ("", [1.0], 1)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("Not Found", "^http://127.0.0.1:[0-9]+ has no /v1/chat/completions endpoint"),
        ("no model m", "HTTP 404: no model m"),
    ],
)
def test_a_missing_endpoint_is_told_from_a_missing_model(fake: Start, refusal: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        asked(fake(status=404, refusal=refusal))


def test_another_protocol_is_named_in_a_line(other_protocol: str) -> None:
    there = place.openai(f"http://{other_protocol}", model="m", key=None, output_tokens=9, extra={})

    async def ask() -> None:
        door = openai.create(there.asking)
        try:
            await door.ask("Hello", [])
        finally:
            await door.close()

    with pytest.raises(Refused, match="does not speak HTTP") as refused:
        asyncio.run(ask())
    assert len(str(refused.value)) < 400
    with pytest.raises(MeasureError, match="does not speak HTTP") as unknown:
        front.find(other_protocol, None)
    assert unknown.value.found.isprintable()


def test_a_grpc_address_where_nobody_answers_names_the_option() -> None:
    with pytest.raises(MeasureError, match=r"gRPC at 127\.0\.0\.1:9\n(.*\n)*.*--grpc-url"):
        place.require_grpc("127.0.0.1:9")


@pytest.mark.parametrize(
    ("datatype", "value", "fits"),
    [
        ("FP32", "x", False),
        ("FP32", 1, True),
        ("FP32", True, False),
        ("INT32", 2**31, False),
        ("INT32", -(2**31), True),
        ("INT32", 1.5, False),
        ("UINT64", -1, False),
        ("BOOL", True, True),
        ("BOOL", "x", False),
        ("BYTES", "x", True),
        ("BYTES", ["x", {}], False),
        ("INT32", None, True),
    ],
)
def test_an_extra_must_fit_its_input(datatype: str, value: Any, fits: bool) -> None:
    if fits:
        fields.require_fits("it", datatype, value)
        return
    with pytest.raises(UsageError, match=re.escape(f"--extra: it cannot be {json.dumps(value)}")):
        fields.require_fits("it", datatype, value)


def test_a_connection_that_closed_while_idle_is_no_error(fake: Start) -> None:
    """Every second request meets a closed connection, and is asked again on a new one."""
    endpoint = fake(uses=1)
    answers, _ = asked(endpoint, times=4)
    assert [len(answer.tokens) for answer in answers] == [5] * 4
    assert len(endpoint.bodies) == 4


def test_a_server_that_never_answers_is_an_error(fake: Start) -> None:
    endpoint = fake(uses=0)
    with pytest.raises(Refused, match="disconnected"):
        asked(endpoint)


def test_nobody_listening_is_named() -> None:
    with FakeOpenAi() as gone:
        pass
    with pytest.raises(Refused, match="Cannot connect"):
        asked(gone)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://h:1", "http://h:1/v1/chat/completions"),
        ("http://h:1/", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("https://h/api/v3/", "https://h/api/v3/chat/completions"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions"),
    ],
)
def test_urls_lead_to_the_completions(given: str, address: str) -> None:
    there = place.openai(given, model="m", key="k", output_tokens=1, extra={})
    assert there.asking.address == there.url == address
    assert there.asking.headers == {"Authorization": "Bearer k"}


@pytest.mark.parametrize("url", ["localhost", "ftp://h:1", "http://h:x", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not the address"):
        place.openai(url, model="m", key=None, output_tokens=1, extra={})


def test_what_is_no_json_from_triton_is_an_error() -> None:
    door = http.create(Asking("http", "h:1", "m", {}))
    heard = [(1.0, b'data: {"text_output":"a"}\n\ndata: {oops\n\n'), (2.0, b'data: {"text_output":"b"}\n\n')]
    assert "no JSON: {oops" in door.read(heard).error


def test_tritons_events_by_hand() -> None:
    door = http.create(Asking("http", "h:1", "m", {}))
    heard = [
        (1.0, b'data: {"text_output":"a","num_output_tokens":1,"num_input_tokens":5}\n\n'),
        (2.0, b'data: {"text_output":"","num_output_tokens":1}\n\ndata: {"text_output":"b","num_outp'),
        (3.0, b'ut_tokens":4}\n\n'),
    ]
    assert door.read(heard) == Answer([1.0, 3.0], [1, 3], 5)


def test_a_model_that_counts_no_tokens_is_counted_by_its_texts() -> None:
    door = http.create(Asking("http", "h:1", "m", {}))
    heard = [(1.0, b'data: {"text_output":"a"}\n\n'), (2.0, b'data: {"text_output":""}\n\n')]
    assert door.read(heard) == Answer([1.0], [1], None)


TEXT = b'data: {"a": 1}\n\n: a comment\n\nevent: x\r\ndata:{"b": "\xc3\xa9"}\r\n\r\ndata: [DONE]\n\n'


@given(st.sets(st.integers(1, len(TEXT) - 1)))
def test_events_are_the_same_wherever_the_network_cuts(cuts: set[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    heard = [
        (float(number), TEXT[start:end]) for number, (start, end) in enumerate(itertools.pairwise(places))
    ]
    assert [event for _, event in events.events(heard)] == [{"a": 1}, {"b": "é"}, None]
    # an event is there when its line is complete
    first = next(at for at, _ in events.events(heard))
    assert first == next(number for number, end in enumerate(places[1:]) if end >= TEXT.index(b"\n") + 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "plain"}, "plain"),
        ({"error": {"message": "inner", "code": 3}}, "inner"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": 1}]}, '[{"loc": 1}]'),
        ("just text", '"just text"'),
    ],
)
def test_error_bodies_are_read(body: Any, said: str) -> None:
    assert events.error_text(json.dumps(body)) == said
    assert events.error_text("<html>") == "<html>"
    assert events.error_text('data: {"error": "from Triton"}\n\n') == "from Triton"
