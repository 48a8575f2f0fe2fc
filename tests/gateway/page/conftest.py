"""The page in a real browser, in front of gateways whose model answers with its prompt."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import echoing_repository
import gateway_process
from chat_page import PROGRAMS, ChatPage
from gateway_process import Gateway

from builder.server import Server

NEEDED = ("fastapi", "uvicorn", "uvloop", "httptools", "h2", "orjson", "playwright", "axe_playwright_python")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


# no longer than a module: beside Playwright's loop other tests could run none of their own
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if MISSING:
        pytest.skip(f"the page cannot be tested: {', '.join(MISSING)} is not installed")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium-headless-shell")
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox refuses to run as root
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def slow_server(boot: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A Triton whose longest answer takes twenty seconds."""
    folder = tmp_path_factory.mktemp("slow") / "repository"
    return boot(echoing_repository.write(folder, step_seconds=0.05))


@pytest.fixture(scope="session")
def slow(slow_server: Server) -> Iterator[Gateway]:
    with gateway_process.running(slow_server.grpc) as gateway:
        yield gateway


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., ChatPage]]:
    """Open the page of a gateway: `opened(gateway, color_scheme="dark")`; nothing may go wrong in it."""
    pages: list[ChatPage] = []

    def open_page(gateway: Gateway, **options: Any) -> ChatPage:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        context.set_default_timeout(30_000)
        pages.append(ChatPage(context.new_page(), f"http://{gateway.address}/"))
        return pages[-1]

    yield open_page
    complaints = [told for page in pages for told in page.complaints]
    for page in pages:
        page.page.context.close()
    assert complaints == []


@pytest.fixture
def chat(echo: Gateway, opened: Callable[..., ChatPage]) -> ChatPage:
    """The page in front of the model that answers at once."""
    return opened(echo).visit()
