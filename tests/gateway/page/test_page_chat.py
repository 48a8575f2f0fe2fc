"""Chats on the page: asked, streamed, stopped, refused, begun anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import echoing_repository
import gateway_process
import pytest
from chat_page import ChatPage
from echoing_repository import ENDLESS, NAME, OFFENCE
from gateway_process import Gateway
from processes import until

from builder import serve
from builder.gateway.triton import failures
from builder.server import Server
from builder.triton_client import Client

pytestmark = pytest.mark.triton
SECRET = "sk-of-this-test"


def active(server: Server) -> float:
    samples = Client(server.http, server.grpc, server.metrics, {}).metrics()
    return sum(value for (family, _), value in samples.items() if family == "builder_engine_active_requests")


def bodies(chat: ChatPage) -> list[Any]:
    """Collect what the page asks from now on."""
    sent: list[Any] = []

    def hear(request: Any) -> None:
        if request.url.endswith("/v1/chat/completions"):
            sent.append(json.loads(request.post_data))

    chat.page.on("request", hear)
    return sent


def test_an_answer_with_its_tokens_and_its_speed(chat: ChatPage) -> None:
    chat.ask("hello there")
    assert "hello there" in chat.prose.inner_text()
    facts = chat.answer.locator(".facts").inner_text().splitlines()
    tokens, speed, first = (fact for fact in facts if fact)
    assert tokens.split()[0].isdigit() and tokens.endswith("out")
    assert float(speed.removesuffix(" tokens/s").replace(",", "")) > 0
    assert first.startswith("first after ")
    assert chat.prompt.input_value() == "" and chat.focused() == "prompt"


def test_the_model_is_told_the_whole_chat(chat: ChatPage) -> None:
    chat.ask("hello")
    answered = chat.prose.inner_text()
    sent = bodies(chat)
    chat.ask("and again")
    (body,) = sent
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"].split() == answered.split()
    assert body["model"] == NAME and body["stream_options"] == {"include_usage": True}


def test_settings_are_sent_and_kept(chat: ChatPage) -> None:
    chat.button("Settings").click()
    chat.page.get_by_label("System prompt").fill("Be brief")
    chat.page.get_by_label("Temperature").fill("0.3")
    chat.page.get_by_label("Longest answer").fill("7")
    chat.page.reload()
    sent = bodies(chat)
    chat.visit().ask("hello")
    (body,) = sent
    assert body["messages"][0] == {"role": "system", "content": "Be brief"}
    assert (body["temperature"], body["max_completion_tokens"]) == (0.3, 7)
    assert "7 out" in chat.answer.inner_text()
    assert "cut at the longest answer" in chat.answer.inner_text()


@pytest.mark.parametrize("way", ["Escape", "button"])
def test_stopping_frees_the_place_at_the_server(
    way: str, slow: Gateway, slow_server: Server, opened: Callable[..., ChatPage]
) -> None:
    chat = opened(slow).visit()
    chat.start(f"Go on {ENDLESS}")
    until(lambda: active(slow_server) == 1)
    if way == "Escape":
        chat.page.keyboard.press("Escape")
    else:
        chat.button("Stop").click()
    chat.answer.and_(chat.page.locator(".ended")).wait_for()
    until(lambda: active(slow_server) == 0)
    assert "stopped" in chat.answer.locator(".foot").inner_text()
    assert chat.prose.inner_text().strip()
    chat.button("Send").wait_for()
    assert chat.focused() == "prompt"


def test_a_new_chat_stops_the_old_one(
    slow: Gateway, slow_server: Server, opened: Callable[..., ChatPage]
) -> None:
    chat = opened(slow).visit()
    chat.start(f"Go on {ENDLESS}")
    chat.button("New chat").click()
    until(lambda: active(slow_server) == 0)
    assert chat.answers.count() == 0 and chat.page.locator("#welcome").is_visible()
    sent = bodies(chat)
    chat.start("hello")
    assert [one["content"] for one in sent[0]["messages"]] == ["hello"]


def test_closing_the_tab_frees_the_place(
    slow: Gateway, slow_server: Server, opened: Callable[..., ChatPage]
) -> None:
    chat = opened(slow).visit()
    chat.start(f"Go on {ENDLESS}")
    until(lambda: active(slow_server) == 1)
    chat.page.close()
    until(lambda: active(slow_server) == 0)


def test_only_models_that_chat_are_offered(chat: ChatPage, opened: Callable[..., ChatPage]) -> None:
    with_others = [
        {"id": name, "object": "model", "task": task, "capabilities": {"completion_chat": chats}}
        for name, task, chats in (
            ("a base model", "chat", False),
            ("minilm", "embedding", False),
            ("reranker", "reranking", False),
            ("smollm2", "chat", True),
            (NAME, "chat", True),
        )
    ]
    chat.page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": with_others}))
    chat.page.reload()
    chat.model.get_by_role("option", name="smollm2").wait_for(state="attached")
    assert chat.model.locator("option").all_inner_texts() == ["smollm2", NAME]
    sent = bodies(chat)
    chat.model.select_option(NAME)
    chat.ask("hello")
    assert sent[0]["model"] == NAME
    chat.page.reload()
    chat.model.and_(chat.page.locator(":enabled")).wait_for()
    assert chat.model.input_value() == NAME


def test_models_are_those_of_the_gateway(chat: ChatPage, echo: Gateway) -> None:
    told = echo.get("/v1/models")[1]["data"]
    served = [one["id"] for one in told if one["capabilities"]["completion_chat"]]
    assert served == [NAME]
    assert [one.get_attribute("value") for one in chat.model.locator("option").all()] == served


def test_a_refusal_is_shown_in_the_gateways_words_and_tried_again(chat: ChatPage, echo: Gateway) -> None:
    _, error = echo.refusal(
        "/v1/chat/completions", model=NAME, messages=[{"role": "user", "content": f"Say {OFFENCE}"}]
    )
    sent = bodies(chat)
    chat.ask(f"Say {OFFENCE}")
    assert chat.answer.locator(".error p").inner_text() == error["message"]
    chat.button("Try again").click()
    chat.page.wait_for_function("document.querySelectorAll('article.answer .error').length === 1")
    until(lambda: len(sent) == 2)
    chat.answer.and_(chat.page.locator(".ended")).wait_for()
    # what was never answered is no part of the chat
    chat.ask("hello")
    assert [one["content"] for one in sent[2]["messages"]] == ["hello"]


def test_a_parameter_that_is_refused(chat: ChatPage) -> None:
    chat.button("Settings").click()
    chat.page.get_by_label("Temperature").fill("9")
    chat.ask("hello")
    assert "temperature" in chat.answer.locator(".error p").inner_text()


def test_triton_killed_in_the_middle(tmp_path: Path, opened: Callable[..., ChatPage]) -> None:
    repository = echoing_repository.write(tmp_path / "repository", step_seconds=0.05)
    with serve.boot(repository) as server, gateway_process.running(server.grpc) as gateway:
        chat = opened(gateway).visit()
        chat.start(f"Go on {ENDLESS}")
        server.kill()
        assert chat.answer.locator(".error p").inner_text() in (failures.LOST, failures.CUT)
        assert chat.prose.inner_text().strip()
        chat.page.reload()
        notice = chat.page.locator("#notice.error")
        notice.wait_for()
        assert notice.inner_text() == failures.LOST
        assert chat.model.inner_text() == "No chat model" and chat.model.is_disabled()


def test_a_gateway_that_is_gone(echoing: Server, opened: Callable[..., ChatPage]) -> None:
    with gateway_process.running(echoing.grpc) as gateway:
        chat = opened(gateway).visit()
    chat.ask("hello")
    assert chat.answer.locator(".error p").inner_text() == "The gateway cannot be reached."


def test_a_key_is_asked_for_sent_and_kept_in_the_tab_only(
    echo: Gateway, opened: Callable[..., ChatPage]
) -> None:
    words = "Incorrect API key provided"
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    chat = opened(echo)

    def guard(route: Any) -> None:
        if route.request.headers.get("authorization") == f"Bearer {SECRET}":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": error})

    chat.page.route("**/v1/**", guard)
    chat.page.goto(chat.address)
    window = chat.page.get_by_role("dialog", name="API key")
    assert window.locator(".error").inner_text() == words
    assert chat.focused() == "key-field"
    chat.page.keyboard.type("wrong")
    chat.page.keyboard.press("Enter")
    window.locator(".error").wait_for()
    chat.page.get_by_label("Key of this gateway").fill(SECRET)
    chat.page.keyboard.press("Enter")
    chat.model.and_(chat.page.locator(":enabled")).wait_for()
    chat.ask("hello")
    assert "hello" in chat.prose.inner_text()
    assert SECRET in chat.page.evaluate("Object.values({...sessionStorage})")
    assert SECRET not in chat.page.evaluate("JSON.stringify({...localStorage}) + document.cookie")
    assert SECRET not in chat.page.content()


def test_a_key_that_is_no_longer_good(chat: ChatPage) -> None:
    error = {"message": "expired", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    chat.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=401, json={"error": error}),
        times=1,
    )
    chat.ask("hello")
    chat.page.get_by_label("Key of this gateway").fill(SECRET)
    chat.page.keyboard.press("Enter")
    chat.page.locator("article.answer.ended .facts").wait_for()
    assert chat.answers.count() == 1 and "hello" in chat.prose.inner_text()


def test_beneath_a_prefix_of_a_proxy(echo: Gateway, opened: Callable[..., ChatPage]) -> None:
    chat = opened(echo)

    def forward(route: Any) -> None:
        assert "/door/" in route.request.url
        route.fulfill(response=route.fetch(url=route.request.url.replace("/door/", "/")))

    chat.page.route("**/*", forward)
    chat.address += "door/"
    chat.visit().ask("hello")
    assert "hello" in chat.prose.inner_text()


def test_a_refusal_that_is_not_the_gateways(chat: ChatPage) -> None:
    chat.page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")
    )
    chat.ask("hello")
    assert chat.answer.locator(".error p").inner_text() == "HTTP 502 <h1>Bad gateway</h1>"


def test_an_answer_that_is_cut_without_its_end(chat: ChatPage) -> None:
    event = {"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]}
    chat.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f": still there\n\ndata: {json.dumps(event)}\n\n"
        ),
    )
    chat.ask("hello")
    assert chat.prose.inner_text() == "half"
    assert "cut" in chat.answer.locator(".error p").inner_text()
