"""A model without a chat template: it goes on with texts, chats with nobody, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gateway_process
import pytest
import tool_deployments
from echoing_repository import NAME
from gateway_process import Gateway

from builder.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def base(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    repository = tool_deployments.echoing(tmp_path_factory.mktemp("base") / "repository")
    tool_deployments.tell(repository, chat="false")
    with gateway_process.running(boot(repository).grpc) as gateway:
        yield gateway


def test_it_says_so(base: Gateway) -> None:
    (model,) = base.get("/v1/models")[1]["data"]
    assert model["capabilities"] == {"completion_chat": False, "function_calling": False, "vision": False}
    assert base.get(f"/v1/models/{NAME}")[1] == model


@pytest.mark.parametrize(
    ("path", "fields", "instead"),
    [
        ("/v1/chat/completions", {"messages": HELLO}, "/v1/completions"),
        ("/v1/responses", {"input": "hello"}, "/v1/completions"),
    ],
)
def test_chats_are_refused(base: Gateway, path: str, fields: Any, instead: str) -> None:
    status, error = base.refusal(path, model=NAME, **fields)
    assert (status, error["param"]) == (400, "model")
    assert error["message"].endswith(f"has no chat template: use {instead}")


def test_ollamas_chats_are_refused(base: Gateway) -> None:
    status, told = base.post("/api/chat", model=NAME, messages=HELLO)
    assert status == 400 and told["error"].endswith("has no chat template: use /api/generate")


def test_texts_are_not(base: Gateway) -> None:
    status, told = base.post("/v1/completions", model=NAME, prompt="a bird")
    assert (status, told["choices"][0]["finish_reason"]) == (200, "stop")
    status, told = base.post("/api/generate", model=NAME, prompt="a bird", stream=False)
    assert status == 200 and "a bird" in told["response"]
