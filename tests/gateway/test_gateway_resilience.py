"""Clients that leave, a Triton that leaves and returns, no place, no time, and the end of a gateway."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from pathlib import Path

import echoing_repository
import gateway_process
import pytest
from echoing_repository import ENDLESS, NAME
from gateway_process import Gateway, error_of, events
from processes import alive, children, until
from raw_client import connected, request

from builder import serve
from builder.server import Options, Server
from builder.triton_client import Client

pytestmark = pytest.mark.triton
CHAT = "/v1/chat/completions"
FOREVER = [{"role": "user", "content": f"Go on {ENDLESS}"}]
HELLO = [{"role": "user", "content": "hello"}]


def metric(server: Server, name: str) -> float:
    samples = Client(server.http, server.grpc, server.metrics, {}).metrics()
    return sum(value for (family, _), value in samples.items() if family == f"builder_engine_{name}")


def nobody_is_answered(server: Server) -> bool:
    return metric(server, "active_requests") == 0


def test_leaving_a_stream_frees_its_place(echo: Gateway, echoing: Server) -> None:
    before = metric(echoing, "cancelled_total")
    with echo.streaming(CHAT, model=NAME, messages=FOREVER) as response:
        assert next(events(response))["choices"][0]["delta"]["role"] == "assistant"
        until(lambda: metric(echoing, "active_requests") == 1)
    until(lambda: nobody_is_answered(echoing))
    assert metric(echoing, "cancelled_total") == before + 1


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_leaving_before_an_unstreamed_answer_frees_its_place(
    path: str, echo: Gateway, echoing: Server
) -> None:
    prompt = {"messages": FOREVER} if path == CHAT else {"prompt": [f"Go on {ENDLESS}"] * 2}
    with echo.started(path, model=NAME, **prompt):
        until(lambda: metric(echoing, "active_requests") == (1 if path == CHAT else 2))
    until(lambda: nobody_is_answered(echoing))


def test_leaving_several_requests_on_one_connection(echo: Gateway, echoing: Server) -> None:
    before = metric(echoing, "cancelled_total")
    with connected(echo) as opened:
        opened.sendall(request({"model": NAME, "messages": FOREVER}) * 3)
        until(lambda: metric(echoing, "active_requests") == 1)
    until(lambda: metric(echoing, "cancelled_total") == before + 1)
    assert nobody_is_answered(echoing)


def test_ten_leave_at_once(echo: Gateway, echoing: Server) -> None:
    import openai

    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=echo.url, api_key="none", max_retries=0) as client:

            async def ask() -> None:
                async with await client.chat.completions.create(
                    model=NAME, messages=FOREVER, stream=True
                ) as stream:
                    async for _ in stream:
                        break

            await asyncio.gather(*(ask() for _ in range(10)))

    asyncio.run(leave())
    until(lambda: nobody_is_answered(echoing))


def test_triton_killed_in_the_middle_and_started_again(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    first = serve.boot(repository)
    ports = {
        name: int(getattr(first, name.removesuffix("_port")).rpartition(":")[2])
        for name in ("http_port", "grpc_port", "metrics_port")
    }
    try:
        with gateway_process.running(first.grpc) as gateway:
            with gateway.streaming(CHAT, model=NAME, messages=FOREVER) as response:
                heard = events(response)
                assert next(heard)["choices"]
                first.kill()
                *_, last = heard
            assert error_of(last)["code"] == "unavailable"
            until(lambda: gateway.get("/health")[0] == 503)
            status, error = gateway.refusal(CHAT, model=NAME, messages=HELLO)
            assert (status, error["code"]) == (503, "unavailable")
            assert gateway.get("/v1/models")[0] == 503
            status, told = gateway.get("/api/tags")
            assert (status, list(told)) == (503, ["error"]) and "cannot be reached" in told["error"]
            with serve.boot(repository, **ports):
                status, answer = gateway.post(CHAT, model=NAME, messages=HELLO)
                assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
                assert gateway.get("/health")[0] == 200
    finally:
        first.kill()


def test_a_gateway_that_comes_before_triton(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with gateway_process.running(f"127.0.0.1:{port}") as gateway:
        assert gateway.get("/health")[0] == 503
        with serve.boot(echoing_repository.write(tmp_path / "repository"), grpc_port=port):
            assert gateway.post(CHAT, model=NAME, messages=HELLO)[0] == 200


def test_beyond_the_gateways_bound(echoing: Server) -> None:
    with gateway_process.running(echoing.grpc, "--max-requests", "1") as gateway:
        with gateway.streaming(CHAT, model=NAME, messages=FOREVER) as response:
            assert response.status == 200
            status, headers, body = gateway.request("POST", CHAT, b"{}")
            assert (status, headers["retry-after"]) == (429, "1")
            assert error_of(json.loads(body))["type"] == "rate_limit_error"
            assert gateway.get("/v1/models")[0] == 200
        until(lambda: gateway.post(CHAT, model=NAME, messages=HELLO)[0] == 200)


def test_a_stream_that_waits_gets_comments(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.5)
    with (
        serve.boot(repository) as server,
        gateway_process.running(server.grpc, "--keep-alive", "0.1") as slow,
        slow.streaming(CHAT, model=NAME, messages=HELLO, max_tokens=2) as response,
    ):
        heard = list(events(response))
    assert heard[0] == ": still there"
    assert heard[-1] == "[DONE]"
    assert [one["choices"][0]["finish_reason"] for one in heard if isinstance(one, dict)][-1] == "length"


def test_streams_finish_after_sigterm(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.02)
    with serve.boot(repository) as server, gateway_process.running(server.grpc) as gateway:
        with gateway.streaming(CHAT, model=NAME, messages=FOREVER, max_tokens=60) as response:
            heard = events(response)
            assert next(heard)["choices"]
            gateway.process.send_signal(signal.SIGTERM)
            rest = list(heard)
        assert rest[-1] == "[DONE]"
        assert rest[-2]["choices"][0]["finish_reason"] == "length"


def test_what_has_not_finished_after_the_exit_timeout_is_told(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.1)
    words = "timeout graceful shutdown exceeded"
    with (
        serve.boot(repository) as server,
        gateway_process.running(server.grpc, "--exit-timeout", "1", last_words=words) as gateway,
        gateway.started(CHAT, model=NAME, messages=FOREVER) as whole,
        gateway.streaming(CHAT, model=NAME, messages=FOREVER) as response,
    ):
        heard = events(response)
        assert next(heard)["choices"]
        until(lambda: metric(server, "active_requests") == 2)
        gateway.process.send_signal(signal.SIGTERM)
        *_, last = heard
        assert error_of(last)["code"] == "unavailable"
        answer = whole.getresponse()
        assert (answer.status, error_of(json.loads(answer.read()))["code"]) == (503, "unavailable")
        until(lambda: nobody_is_answered(server))
        assert gateway.process.wait(30) == 0


def test_several_workers_share_the_port(echoing: Server) -> None:
    answered: list[int] = []

    def ask(gateway: Gateway) -> None:
        answered.append(gateway.post(CHAT, model=NAME, messages=HELLO)[0])

    with gateway_process.running(echoing.grpc, "--workers", "2") as gateway:
        threads = [threading.Thread(target=ask, args=(gateway,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answered == [200] * 8


def test_control_c_ends_it(echoing: Server) -> None:
    with gateway_process.running(echoing.grpc) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(30) == 0


def test_workers_end_with_a_parent_that_is_killed(echoing: Server) -> None:
    with gateway_process.running(echoing.grpc, "--workers", "2") as gateway:
        # one of them is multiprocessing's own, which tracks resources
        workers = children(gateway.process.pid)
        assert len(workers) >= 2
        gateway.process.kill()
    until(lambda: not any(alive(worker) for worker in workers))


def test_models_that_are_unloaded_and_loaded(tmp_path: Path) -> None:
    repository = echoing_repository.write(tmp_path / "repository")
    options = Options(model_control="explicit")
    with serve.boot(repository, options=options) as server, gateway_process.running(server.grpc) as gateway:
        triton = Client(server.http, server.grpc, server.metrics, {})
        assert [one["id"] for one in gateway.get("/v1/models")[1]["data"]] == [NAME]
        triton.call("grpc", "unload_model", NAME)
        until(lambda: gateway.get("/v1/models")[1]["data"] == [])
        assert gateway.refusal(CHAT, model=NAME, messages=HELLO)[0] == 404
        assert gateway.get("/health")[0] == 200
        triton.call("grpc", "load_model", NAME)
        # it is looked for at once
        assert gateway.post(CHAT, model=NAME, messages=HELLO)[0] == 200
        assert [one["id"] for one in gateway.get("/v1/models")[1]["data"]] == [NAME]
