"""The parts of the gateway that need no server."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from builder.gateway import leading
from builder.gateway.protocol import calls, embeddings, errors, messages, models
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.envelopes import MARK, Envelope
from builder.gateway.routing.route import Route
from builder.gateway.triton import asking, failures, hearing
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import CHAT, EMBEDDING, RERANKING, Served

INPUTS = {
    "text_input": "BYTES",
    "messages": "BYTES",
    "input_ids": "INT32",
    "seed": "UINT64",
    "stream": "BOOL",
}
FRONT = Served("front", {**INPUTS, "top_p": "FP32"}, {"text_output": "BYTES"}, {}, True, 1)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_texts_are_packed_as_tritonclient_packs_them(texts: list[str]) -> None:
    expected = serialize_byte_tensor(np.array([text.encode() for text in texts], dtype=np.object_)).item()
    assert asking.texts("a", texts).raw == expected
    assert [one.decode() for one in deserialize_bytes_tensor(expected)] == hearing._texts(expected)


def test_each_input_has_the_type_that_the_model_declares() -> None:
    values = {"text_input": "é", "input_ids": [1, 2**31 - 1], "seed": 2**64 - 1, "stream": True, "top_p": 0.5}
    made = {one.name: one for one in asking.tensors(FRONT, values)}
    assert made["text_input"][1:] == ("BYTES", (1, 1), b"\x02\0\0\0\xc3\xa9")
    assert made["input_ids"][1:] == ("INT32", (1, 2), struct.pack("<2i", 1, 2**31 - 1))
    assert made["seed"][1:] == ("UINT64", (1, 1), b"\xff" * 8)
    assert made["stream"][1:] == ("BOOL", (1, 1), b"\x01")
    assert made["top_p"][1:] == ("FP32", (1, 1), struct.pack("<f", 0.5))


def test_an_input_that_the_model_does_not_have() -> None:
    with pytest.raises(Failure) as caught:
        asking.tensors(FRONT, {"stop_words": ["a"]})
    error = errors.of_failure(caught.value, {"stop_words": "stop"})
    assert (error.status, error.param) == (400, "stop")
    assert error.message == "stop is not supported by the model 'front': leave it out"


def test_a_request_says_what_it_wants() -> None:
    made = asking.request("front", asking.tensors(FRONT, {"stream": True}), ("text_output",), 1.5)
    assert [output.name for output in made.outputs] == ["text_output"]
    assert made.parameters["timeout"].int64_param == 1_500_000
    assert (made.inputs[0].name, made.raw_input_contents[0]) == ("stream", b"\x01")


def response(**raw: tuple[str, tuple[int, ...], bytes]) -> Any:
    made = service_pb2.ModelInferResponse()
    for name, (datatype, shape, data) in raw.items():
        made.outputs.add(name=name, datatype=datatype, shape=shape)
        made.raw_output_contents.append(data)
    return made


def text(value: str) -> tuple[str, tuple[int, ...], bytes]:
    return "BYTES", (1, 1), asking.texts("", [value]).raw


def test_outputs_are_told_by_their_names_in_any_order() -> None:
    piece = hearing.read(
        response(
            finish_reason=text("length"),
            sequence_index=("INT32", (1, 1), struct.pack("<i", 2)),
            output_top_ids=("INT32", (1, 2, 2), struct.pack("<4i", 1, 2, 3, 4)),
            output_top_log_probs=("FP32", (1, 2, 2), struct.pack("<4f", -1, -2, -3, -4)),
            output_ids=("INT32", (1, 2), struct.pack("<2i", 1, 3)),
            output_log_probs=("FP32", (1, 2), struct.pack("<2f", -1, -3)),
            num_output_tokens=("INT32", (1, 1), struct.pack("<i", 300)),
            text_output=text("日本"),
        )
    )
    assert piece[:5] == ("日本", "length", 2, 0, 300)
    assert (piece.ids, piece.log_probs) == ((1, 3), (-1.0, -3.0))
    assert piece.tops is not None and piece.tops[0].tolist() == [[1, 2], [3, 4]]
    assert hearing.read(response(text_output=text("a"), finish_reason=text(""))) == hearing.Piece("a", "")


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        (
            "16 requests are running and 128 waiting, which is all this deployment admits: try again later",
            *(Kind.OVERLOADED, 429),
        ),
        ("Request timeout expired", Kind.DEADLINE, 408),
        ("Request for unknown model: 'a' is not found", Kind.UNKNOWN_MODEL, 404),
        ("the server is shutting down", Kind.UNAVAILABLE, 503),
        ("the engine has failed and is started again: it died", Kind.UNAVAILABLE, 503),
        ("RuntimeError: CUDA error", Kind.INTERNAL, 500),
        ("temperature is -1, it must be 0 to 100", Kind.INVALID, 400),
    ],
)
def test_texts_of_backends_have_their_status(text: str, kind: Kind, status: int) -> None:
    failure = failures.of_text(text)
    assert failure.kind is kind
    error = errors.of_failure(failure, {})
    assert error.status == status
    assert error.headers() == ({"retry-after": "1"} if status in (429, 503) else {})
    assert json.loads(error.body())["error"]["message"] == text


def test_the_texts_are_still_those_of_the_backends() -> None:
    """What failures.py looks for is written in the code that runs inside Triton."""
    from builder import house

    engines = "".join(path.read_text() for path in (house.folder("backends") / "engine").glob("*.py"))
    for part in (
        "try again later",
        "Request timeout expired",
        "server is shutting down",
        "engine has failed",
    ):
        assert part in engines


def test_models_are_told_apart_by_their_configs() -> None:
    def kind(inputs: Any, outputs: Any, decoupled: bool = False) -> str:
        return Served("a", inputs, outputs, {}, decoupled, 1).kind

    assert FRONT.kind == CHAT
    assert kind(FRONT.inputs, FRONT.outputs) == ""
    assert kind({"text_input": "BYTES"}, {"text_output": "BYTES"}, True) == ""
    assert kind({"text_input": "BYTES"}, {"embedding": "FP32", "num_input_tokens": "INT32"}) == EMBEDDING
    assert kind({"input_ids": "INT32"}, {"embedding": "FP32"}) == ""
    assert kind({"query": "BYTES", "documents": "BYTES"}, {"scores": "FP32"}) == RERANKING


def test_what_a_model_can_is_told_by_its_config() -> None:
    def can(inputs: Any = FRONT.inputs, **parameters: str) -> tuple[bool, bool]:
        told = models.told(Served("a", inputs, FRONT.outputs, parameters, True, 1))["capabilities"]
        assert told["vision"] is False
        return told["completion_chat"], told["function_calling"]

    # a repository that says nothing of it is asked
    assert can() == can(chat="true") == (True, False)
    assert can(chat="true", tool_format="hermes") == (True, True)
    assert can(chat="true", tool_format="of tomorrow") == (True, False)
    assert can(chat="false") == can(chat="false", tool_format="hermes") == (False, False)
    assert can({"query": "BYTES", "documents": "BYTES"}) == (False, False)


def test_a_route_can_what_all_of_its_models_can() -> None:
    def can(*told: dict[str, str]) -> tuple[bool, bool]:
        loaded = {f"m{place}": replace(FRONT, parameters=one) for place, one in enumerate(told)}
        catalogue: Any = SimpleNamespace(loaded=loaded.get)
        shown = leading.shown(catalogue, "small", Route("small", dict.fromkeys(loaded, 1.0)))
        assert shown is not None
        record = models.told(shown, "builder")
        assert (record["id"], record["owned_by"]) == ("small", "builder")
        return record["capabilities"]["completion_chat"], record["capabilities"]["function_calling"]

    tools, base = {"chat": "true", "tool_format": "hermes"}, {"chat": "false"}
    assert can(tools, tools) == can(tools, {**tools, "tool_format": "llama3"}) == (True, True)
    assert can(tools, {"chat": "true"}) == can({}, tools) == (True, False)
    assert can(tools, base) == can(base, tools) == (False, False)


def test_vectors_that_are_cut_have_length_1() -> None:
    found = embeddings.cut(np.array([[3, 4, 5], [0, 0, 1]], dtype=np.float32), 2)
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_a_model_that_may_be_cut_says_to_what() -> None:
    model = Served("a", {}, {}, {"matryoshka_dimensions": "64, 128"}, False, 1)
    assert embeddings._dimensions(model, Body({"dimensions": 64})) == 64
    assert embeddings._dimensions(model, Body({})) is None
    with pytest.raises(errors.ApiError, match="must be one of 64,128"):
        embeddings._dimensions(model, Body({"dimensions": 65}))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(max_size=8))
def test_prepared_events_are_those_made_whole(said: str, model: str) -> None:
    if MARK in model or any("\ud800" <= one <= "\udfff" for one in model):
        return
    envelope = Envelope("chatcmpl", "chat.completion.chunk", model, True)
    before, after = envelope.around_text({"index": 0, "delta": {"content": MARK}}, MARK)
    quoted = json.dumps(said, ensure_ascii=False).encode()
    told = json.loads((before + quoted + after).removeprefix(b"data: "))
    assert told["choices"] == [{"index": 0, "delta": {"content": said}}]
    assert (told["model"], told["usage"]) == (model, None)


def test_deltas_make_a_message() -> None:
    deltas = [
        {"content": "I look. "},
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]
    told = calls.message(deltas)
    assert told["content"] == "I look. "
    assert [(call["id"], call["function"]) for call in told["tool_calls"]] == [
        ("a", {"name": "f", "arguments": '{"x": 1}'}),
        ("b", {"name": "g", "arguments": "{}"}),
    ]
    assert calls.message(deltas[1:])["content"] is None
    assert calls.message([]) == {"role": "assistant", "content": ""}


def test_messages_go_to_the_model_as_they_came() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = [
        {"role": "user", "content": "é", "name": "somebody"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
    ]
    taken = json.loads(messages.take(Body({"messages": told})))
    assert taken == [told[0], {**told[1], "content": ""}, told[2]]
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert json.loads(messages.take(Body({"messages": told}), tools)) == {"messages": taken, "tools": tools}
