"""The official openai client: sync and async, streams and many at once, against the real smollm2."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import gateway_process
import openai
import pytest
from gateway_process import Gateway
from processes import until

from builder.server import Server
from builder.triton_client import Client

pytestmark = [pytest.mark.triton, pytest.mark.slow]
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
ENDLESS: Any = {"model": "smollm2", "messages": MESSAGES, "extra_body": {"ignore_eos": True}}


def test_a_chat_that_goes_on(client: Any) -> None:
    messages = list(MESSAGES)
    first = client.chat.completions.create(model="smollm2", messages=messages, temperature=0)
    assert first.choices[0].message.content == ANSWER
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
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_the_clients_own_helper_for_streams(client: Any) -> None:
    with client.chat.completions.stream(model="smollm2", messages=MESSAGES, temperature=0) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER


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


def test_the_asynchronous_client(real: Gateway) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=real.url, api_key="none", max_retries=0) as client:
            asked: Any = {"model": "smollm2", "temperature": 0}
            answer = await client.chat.completions.create(messages=MESSAGES, **asked)
            assert answer.choices[0].message.content == ANSWER
            async with client.chat.completions.stream(messages=MESSAGES, **asked) as stream:
                async for _ in stream:
                    pass
                final = await stream.get_final_completion()
            assert final.choices[0].message.content == ANSWER
            response = await client.responses.create(input=QUESTION, **asked)
            assert response.output_text == ANSWER
            completion = await client.completions.create(
                prompt="The capital of France is", max_tokens=1, **asked
            )
            assert completion.choices[0].text == " Paris"
            assert len((await client.embeddings.create(model="minilm", input="a")).data[0].embedding) == 384
            assert {"smollm2", "minilm"} <= {model.id async for model in client.models.list()}

    asyncio.run(ask())


@pytest.fixture
def active(real_server: Server) -> Callable[[], float]:
    """How many requests the engine is answering."""
    samples = Client(real_server.http, real_server.grpc, real_server.metrics, {})
    return lambda: samples.metrics()["builder_engine_active_requests", 'model="smollm2"']


def test_leaving_in_the_middle_frees_the_place(client: Any, active: Any) -> None:
    stream = client.chat.completions.create(**ENDLESS, stream=True)
    next(iter(stream))
    until(lambda: active() == 1)
    stream.close()
    until(lambda: active() == 0)


def test_a_task_that_is_cancelled_frees_the_place(real: Gateway, active: Any) -> None:
    async def leave(*, stream: bool) -> None:
        async with openai.AsyncOpenAI(base_url=real.url, api_key="none", max_retries=0) as client:

            async def ask() -> None:
                answer = await client.chat.completions.create(**ENDLESS, stream=stream)
                async for _ in answer:
                    pass

            task = asyncio.create_task(ask())
            await asyncio.to_thread(until, lambda: active() == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    for stream in (True, False):
        asyncio.run(leave(stream=stream))
        until(lambda: active() == 0)


def test_the_clients_own_deadline_frees_the_place(client: Any, active: Any) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1.0).chat.completions.create(**ENDLESS)
    until(lambda: active() == 0)


def test_the_gateways_deadline_ends_a_stream_with_an_error(client: Any) -> None:
    heard = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(
            **ENDLESS | {"extra_body": {"ignore_eos": True, "timeout": 1.5}}, stream=True
        ):
            heard.append(chunk)
    assert heard and caught.value.code == "timeout"


def test_more_than_there_are_places_for(client: Any, active: Any) -> None:
    # 16 run and 128 wait
    with pytest.raises(openai.RateLimitError) as caught:
        client.completions.create(
            model="smollm2", prompt=["Once"] * 4, n=64, max_tokens=400, extra_body={"ignore_eos": True}
        )
    assert caught.value.response.headers["retry-after"] == "1"
    until(lambda: active() == 0)


def test_a_gateway_without_a_triton() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        gateway_process.running(nobody) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="smollm2", messages=MESSAGES)
        assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
    with (
        openai.OpenAI(base_url=f"http://{nobody}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.models.list()


def test_answers_as_they_came(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="smollm2", messages=MESSAGES, temperature=0)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == ANSWER
    with client.chat.completions.with_streaming_response.create(
        model="smollm2", messages=MESSAGES, temperature=0, stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert [line for line in response.iter_lines() if line][-1] == "data: [DONE]"


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
