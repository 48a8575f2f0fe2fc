"""Requests that are made before the clock starts: what they hold, read back by other means."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.measuring import bodies, prompts
from builder.measuring.bodies import Body
from builder.measuring.doors import grpc_infer, http_infer
from builder.measuring.task import Asking

MARK = "0123456789ab"
TEXTS = st.text().filter(lambda text: bodies.HOLE not in text)


def asking(**more: Any) -> Asking:
    fields: dict[str, Any] = {
        "inputs": {"text_input": "BYTES", "k": "INT32", "half": "FP16"},
        "dims": {"text_input": [-1], "k": [2, -1], "half": [1]},
        "batched": True,
        "streams": False,
    }
    return Asking("grpc", "127.0.0.1:9", "a model", more.pop("carried", {}), **{**fields, **more})


def over_grpc(inputs: dict[str, Any], mark: str = "", **more: Any) -> Any:
    """Return the message that Triton would read."""
    from tritonclient.grpc import service_pb2

    async def make() -> Body:
        door = grpc_infer.create(asking(**more))
        made = door.prepare(inputs, marks=bool(mark))
        await door.close()
        return made

    body = asyncio.run(make())
    return service_pb2.ModelInferRequest.FromString((bodies.marked(body, mark) if mark else body).sent)


def over_http(inputs: dict[str, Any], mark: str = "", **more: Any) -> tuple[dict[str, str], Any, bytes]:
    """Return the fields of the head, the JSON and the bytes after it."""
    body = http_infer.create(asking(**more)).prepare(inputs, marks=bool(mark))
    sent = (bodies.marked(body, mark) if mark else body).sent
    head, _, rest = sent.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /v2/models/a%20model/infer HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines)
    assert int(fields["Content-Length"]) == len(rest)
    length = int(fields.get("Inference-Header-Content-Length", len(rest)))
    return fields, json.loads(rest[:length]), rest[length:]


def test_a_grpc_request_by_hand() -> None:
    found = over_grpc({"k": [[1, 2], [3, 4]], "text_input": ["é", "b"]}, carried={"half": 1.5})
    assert found.model_name == "a model"
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [
        ("k", "INT32", [1, 2, 2]),
        ("text_input", "BYTES", [1, 2]),
        ("half", "FP16", [1, 1]),
    ]
    texts = struct.pack("<I", 2) + "é".encode() + struct.pack("<I", 1) + b"b"
    assert list(found.raw_input_contents) == [struct.pack("<4i", 1, 2, 3, 4), texts, b"\x00\x3e"]


def test_an_http_request_by_hand() -> None:
    fields, found, rest = over_http({"k": [[1, 2], [3, 4]], "text_input": ["é", "b"]})
    assert found == {
        "inputs": [
            {"name": "k", "datatype": "INT32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]},
            {"name": "text_input", "datatype": "BYTES", "shape": [1, 2], "data": ["é", "b"]},
        ]
    }
    assert rest == b""
    assert fields["Host"] == "127.0.0.1:9"


def test_what_json_cannot_hold_follows_as_bytes() -> None:
    fields, found, rest = over_http(
        {"half": 1.5, "text_input": {"base64": "/9g="}, "k": [1, 2]}, batched=False
    )
    assert [one.get("parameters") for one in found["inputs"]] == [
        {"binary_data_size": 2},
        {"binary_data_size": 6},
        None,
    ]
    assert [one["shape"] for one in found["inputs"]] == [[1], [1], [2, 1]]
    assert rest == b"\x00\x3e" + struct.pack("<I", 2) + b"\xff\xd8"
    assert fields["Content-Type"] == "application/octet-stream"


def test_what_every_request_carries_wins() -> None:
    assert over_grpc({"k": [1, 2]}, carried={"k": [3, 4]}).raw_input_contents[0] == struct.pack("<2i", 3, 4)


@given(st.lists(TEXTS, min_size=1, max_size=3), st.text("0123456789abcdef", min_size=12, max_size=12))
def test_a_mark_is_put_before_the_first_text(texts: list[str], mark: str) -> None:
    """Through either door: the request that would be made of the marked text."""
    marked = [f"[{mark}] {texts[0]}", *texts[1:]]
    inputs = {"text_input": texts, "k": [1, 2, 3, 4]}
    assert over_grpc(inputs, mark) == over_grpc({**inputs, "text_input": marked})
    assert over_http(inputs, mark) == over_http({**inputs, "text_input": marked})


def test_bytes_are_marked_too() -> None:
    found = over_grpc({"text_input": {"base64": "/9g="}}, MARK)
    assert found.raw_input_contents[0][4:] == b"[0123456789ab] \xff\xd8"


@pytest.mark.parametrize("inputs", [{"k": [1, 2]}, {"text_input": [], "k": [1, 2]}])
def test_without_a_text_there_is_no_mark(inputs: dict[str, Any]) -> None:
    assert over_grpc(inputs, MARK) == over_grpc(inputs)


def test_an_order_marks_bodies_each_in_its_own_way() -> None:
    body = Body(b"<", b">")
    order = prompts.Order([body, Body(b"whole")], 0, "salt", "run 0", bodies.marked)
    found = [order.prompt(index).sent for index in range(40)]
    assert len(set(found)) == 21
    assert {len(one) for one in found} == {len(b"whole"), prompts.MARK + 2}
    unmarked = prompts.Order([body], 0, "", "run 0", bodies.marked)
    assert unmarked.prompt(3) is body
