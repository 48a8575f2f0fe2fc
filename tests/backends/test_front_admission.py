"""Requests that come at once, in the order in which the front reads them and its engine hears of them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from builder import house

FRONT = Path(__file__).parents[2] / "backends" / "front" / "model.py"
PATIENCE = 60.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return house.load_file(FRONT)


def front(
    module: ModuleType, loop: asyncio.AbstractEventLoop, seen: list[str], *, knows_at_once: bool = False
) -> Any:
    """Return a front that writes down what it reads and what its engine is told, and never answers."""

    class Front(module.TritonPythonModel):  # type: ignore[misc,name-defined]
        def _parse(self, request: Any) -> str:
            seen.append(f"read {request.name}")
            return str(request.name)

        def _outputs(self, request: Any, number: int) -> None:
            return None

        def _steps(self, name: str, request: str) -> None:
            if knows_at_once:
                seen.append(f"told of {request}")

        async def _serve(self, answer: Any, request: str, steps: None) -> None:
            if not knows_at_once:
                seen.append(f"told of {request}")
            await asyncio.sleep(0)

    made = Front()
    made._numbers, made._loop, made._sending, made._serving = iter(range(99)), loop, None, set()
    made._engine = SimpleNamespace(knows_at_once=True) if knows_at_once else SimpleNamespace()
    return made


def asked(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, get_response_sender=lambda: None)


def test_the_engine_hears_of_each_before_the_next_is_read(
    module: ModuleType, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_BEGIN", PATIENCE)
    seen: list[str] = []
    front(module, loop, seen).execute([asked("a"), asked("b"), asked("c")])
    assert seen == ["read a", "told of a", "read b", "told of b", "read c", "told of c"]


def test_a_loop_that_is_busy_holds_no_reading_up(module: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
    busy, seen = threading.Event(), list[str]()
    loop.call_soon_threadsafe(busy.wait, PATIENCE)
    front(module, loop, seen).execute([asked("a"), asked("b")])
    assert seen == ["read a", "read b"]
    busy.set()
    # what is made after theirs ends after they began
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(PATIENCE)
    assert seen[2:] == ["told of a", "told of b"]


def test_an_engine_that_knows_at_once_waits_for_no_loop(
    module: ModuleType, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_BEGIN", PATIENCE)
    busy, seen = threading.Event(), list[str]()
    loop.call_soon_threadsafe(busy.wait, PATIENCE)
    front(module, loop, seen, knows_at_once=True).execute([asked("a"), asked("b")])
    assert seen == ["read a", "told of a", "read b", "told of b"]
    busy.set()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result(PATIENCE)
