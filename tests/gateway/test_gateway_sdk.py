"""The official openai client: sync and async, streams and many at once, against the real smollm2."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from gateway_process import Gateway
from processes import until

from builder.server import Server
from builder.triton_client import Client

pytestmark = [pytest.mark.triton, pytest.mark.slow]
QUESTION = "What is the capital of France?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


def test_a_chat_that_goes_on(client: Any) -> None:
    messages = list(MESSAGES)
    first = client.chat.completions.create(model="smollm2", messages=messages, temperature=0)
    assert first.choices[0].message.content == "The capital of France is Paris."
    assert (first.object, first.choices[0].finish_reason) == ("chat.completion", "stop")
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "user", "content": "Thanks."})
    second = client.chat.completions.create(model="smollm2", messages=messages, temperature=0, max_tokens=8)
    assert second.usage.prompt_tokens > first.usage.total_tokens


def test_a_stream(client: Any) -> None:
    with client.chat.completions.create(
        model="smollm2", messages=MESSAGES, temperature=0, stream=True
    ) as stream:
        chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == (
        "The capital of France is Paris."
    )
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_the_clients_own_helper_for_streams(client: Any) -> None:
    with client.chat.completions.stream(model="smollm2", messages=MESSAGES, temperature=0) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "The capital of France is Paris."


def test_many_at_once(real: Gateway, real_server: Server) -> None:
    async def ask(client: Any, number: int) -> str:
        stream = await client.chat.completions.create(
            model="smollm2", messages=MESSAGES, temperature=0, stream=True, max_tokens=5 + number
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=real.url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(24)))

    assert all("capital" in answer for answer in asyncio.run(all_of_them()))
    samples = Client(real_server.http, real_server.grpc, real_server.metrics, {})
    until(lambda: samples.metrics()["builder_engine_active_requests", 'model="smollm2"'] == 0)


def test_leaving_in_the_middle_frees_the_place(client: Any, real_server: Server) -> None:
    samples = Client(real_server.http, real_server.grpc, real_server.metrics, {})
    stream = client.chat.completions.create(
        model="smollm2", messages=MESSAGES, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    until(lambda: samples.metrics()["builder_engine_active_requests", 'model="smollm2"'] == 1)
    stream.close()
    until(lambda: samples.metrics()["builder_engine_active_requests", 'model="smollm2"'] == 0)


@pytest.mark.parametrize(
    ("fields", "raised", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"n": 65}, openai.BadRequestError, "n"),
        ({"extra_body": {"suffix": "a"}}, openai.BadRequestError, "suffix"),
        ({"model": "gpt-4"}, openai.NotFoundError, "model"),
    ],
)
def test_errors_are_those_of_the_client(client: Any, fields: Any, raised: Any, param: str) -> None:
    with pytest.raises(raised) as caught:
        client.chat.completions.create(**{"model": "smollm2", "messages": MESSAGES, **fields})
    assert caught.value.param == param
    assert caught.value.body["message"]
