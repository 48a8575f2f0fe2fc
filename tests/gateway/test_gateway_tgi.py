"""/generate and /generate_stream as Text Generation Inference has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from echoing_repository import ENDLESS, NAME
from gateway_process import Gateway

pytestmark = pytest.mark.triton
PATH, STREAM_PATH = "/generate", "/generate_stream"


def streamed(gateway: Gateway, **fields: Any) -> list[Any]:
    """Return the events of a stream."""
    status, headers, body = gateway.request("POST", STREAM_PATH, json.dumps(fields).encode())
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    lines = [line for line in body.decode().split("\n") if line]
    assert all(line.startswith("data:") for line in lines)
    return [json.loads(line[5:]) for line in lines]


def test_a_text(echo: Gateway) -> None:
    status, told = echo.post(PATH, inputs="a bird that sings")
    assert (status, list(told)) == (200, ["generated_text"])
    assert told["generated_text"].endswith("a bird that sings")
    assert echo.post(PATH, inputs="a bird that sings", model=NAME) == (200, told)


def test_details(echo: Gateway) -> None:
    plain = echo.post(PATH, inputs="a bird")[1]["generated_text"]
    told = echo.post(PATH, inputs="a bird", parameters={"details": True, "seed": 3})[1]
    details = told["details"]
    assert told["generated_text"] == plain == "".join(one["text"] for one in details["tokens"])
    assert (details["finish_reason"], details["seed"], details["prefill"]) == ("eos_token", 3, [])
    assert details["generated_tokens"] == len(details["tokens"])


def test_a_stream(echo: Gateway) -> None:
    plain = echo.post(PATH, inputs="a bird that sings")[1]["generated_text"]
    *most, last = told = streamed(echo, inputs="a bird that sings")
    assert [one["index"] for one in told] == list(range(1, len(told) + 1))
    assert "".join(one["token"]["text"] for one in told) == plain == last["generated_text"]
    assert all(one["generated_text"] is one["details"] is None for one in most) and len(most) > 2
    assert last["details"]["finish_reason"] == "eos_token"
    assert all(list(one["token"]) == ["id", "text", "logprob", "special"] for one in told)


def test_the_longest_answer(echo: Gateway) -> None:
    for asked, tokens in ({"max_new_tokens": 3}, 3), ({}, 100):
        *_, last = streamed(echo, inputs=f"you {ENDLESS}", parameters=asked)
        assert last["details"]["generated_tokens"] == tokens
        assert last["details"]["finish_reason"] == "length"


@pytest.mark.parametrize("path", [PATH, STREAM_PATH])
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"inputs": None}, 422, "'inputs' is missing"),
        ({"inputs": ["a"]}, 422, "'inputs' is an array, a string is expected"),
        ({"model": "nobody"}, 404, "'nobody' does not exist"),
        ({"parameters": {"temperature": 9}}, 422, "'temperature' is 9"),
        ({"parameters": {"watermark": True}}, 422, "'watermark'"),
        ({"parameters": {"best_of": 2}}, 422, "'best_of'"),
        ({"parameters": {"typical_p": 0.5}}, 422, "'typical_p'"),
        ({"parameters": {"truncate": 5}}, 422, "'truncate'"),
        ({"parameters": {"grammar": {"type": "json"}}}, 422, "'grammar'"),
        ({"parameters": {"max_new_tokens": 100_000}}, 422, "max_new_tokens is 100000"),
        ({"stream": True}, 422, "'stream'"),
    ],
)
def test_refusals(echo: Gateway, path: str, fields: Any, status: int, said: str) -> None:
    code, told = echo.post(path, **{"inputs": "a bird", **fields})
    assert code == status and said in told["error"], told
    assert told["error_type"] == "validation"


@pytest.mark.slow
def test_real_answers(real: Gateway) -> None:
    """What each parameter does."""

    def ask(**parameters: Any) -> str:
        asked = {"max_new_tokens": 12, **parameters}
        return str(real.post(PATH, inputs="Once upon a time", parameters=asked)[1]["generated_text"])

    plain = ask()
    assert plain and ask() == plain
    drawn = [ask(do_sample=True, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert ask(temperature=1.5, top_k=1) == plain
    word = plain.split()[1]
    assert ask(stop=[word]) == plain[: plain.index(word)]
    assert ask(grammar={"type": "regex", "value": " (yes|no)"}) in (" yes", " no")
    form = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    assert ask(grammar={"type": "json", "value": form}).lstrip().startswith("{")


@pytest.mark.slow
def test_log_probabilities_of_real_answers(real: Gateway) -> None:
    told = streamed(real, inputs="The capital of France is", parameters={"max_new_tokens": 4})
    assert told[0]["token"]["text"] == " Paris"
    assert all(one["token"]["logprob"] < 0 for one in told[:4])
    assert "".join(one["token"]["text"] for one in told) == told[-1]["generated_text"]
