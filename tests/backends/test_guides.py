"""Guides are compiled beside what runs: together, once, and for nobody who has gone."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.engine import guides
from backends.engine import rehearsal as rehearsing
from backends.engine.grammars import Compiler
from backends.engine.guides import KEPT, Guides
from backends.engine.protocol import (
    DeadlineExceeded,
    EngineError,
    Guide,
    InvalidRequest,
    Overloaded,
    Sampling,
)
from backends.engine.rehearsal import Rehearsal

ONE = Guide("regex", "one")
TWO = Guide("regex", "two")
SAMPLING = Sampling(max_tokens=5)


class Slow(Compiler):
    """Compiles when it is told to, and remembers what."""

    def __init__(self, tokenizer: Path) -> None:
        super().__init__(tokenizer)
        self.asked: list[str] = []
        self.may = threading.Event()

    def compile(self, guide: Guide) -> Any:
        self.asked.append(guide.text)
        assert self.may.wait(30)
        if guide.text == "panic":
            raise BaseException("it panicked")
        return super().compile(guide)


class Lenient:
    """Takes whatever comes."""

    def require(self, guide: Guide) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def slow(tokenizer_folder: Path) -> Slow:
    pytest.importorskip("llguidance")
    return Slow(tokenizer_folder / "tokenizer.json")


@pytest.fixture
def compiling(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guides]:
    monkeypatch.setattr(guides, "Compiler", lambda tokenizer: slow)
    monkeypatch.setattr(guides, "Rehearsal", lambda tokenizer: Lenient())
    made = Guides(Path("none"), most=4)
    yield made
    slow.may.set()
    made.close()


async def waiting(compiling: Guides, count: int) -> None:
    while compiling.waiting != count:
        await asyncio.sleep(0.001)


def test_who_asks_the_same_waits_for_the_same(compiling: Guides, slow: Slow) -> None:
    async def main() -> list[Any]:
        tasks = [asyncio.create_task(compiling.open(str(place), ONE, SAMPLING)) for place in range(3)]
        await waiting(compiling, 3)
        slow.may.set()
        return await asyncio.gather(*tasks)

    found = asyncio.run(main())
    assert slow.asked == ["one"]
    # each has a place of its own in it
    found[0].take(int(found[0]._allowed().nonzero()[0][0]))
    assert found[1]._allowed().any()
    assert compiling.waiting == 0
    assert asyncio.run(compiling.open("later", ONE, SAMPLING)) is not None
    assert slow.asked == ["one"]


def test_the_kept_are_few(compiling: Guides, slow: Slow) -> None:
    slow.may.set()

    async def main() -> None:
        for place in range(KEPT + 1):
            await compiling.open("x", Guide("regex", f"number {place}"), SAMPLING)
        await compiling.open("x", Guide("regex", "number 1"), SAMPLING)
        await compiling.open("x", Guide("regex", "number 0"), SAMPLING)

    asyncio.run(main())
    assert slow.asked[-1] == "number 0" and slow.asked.count("number 1") == 1


def test_who_is_aborted_waits_no_longer(compiling: Guides, slow: Slow) -> None:
    async def main() -> tuple[Any, Any]:
        gone, stays = (asyncio.create_task(compiling.open(name, ONE, SAMPLING)) for name in ("gone", "stays"))
        await waiting(compiling, 2)
        compiling.abort("gone")
        compiling.abort("unknown")
        first = await asyncio.wait_for(gone, 5)
        slow.may.set()
        return first, await stays

    aborted, other = asyncio.run(main())
    assert aborted is None and other is not None


def test_what_nobody_waits_for_is_not_compiled(compiling: Guides, slow: Slow) -> None:
    async def main() -> None:
        first, second = (asyncio.create_task(compiling.open("x", guide, SAMPLING)) for guide in (ONE, TWO))
        await waiting(compiling, 2)
        second.cancel()
        await waiting(compiling, 1)
        slow.may.set()
        await first

    asyncio.run(main())
    assert slow.asked == ["one"]
    # and who comes then is not told that it was given up
    assert asyncio.run(compiling.open("y", TWO, SAMPLING)) is not None


def test_time_runs_out_while_it_is_compiled(compiling: Guides, slow: Slow) -> None:
    async def main() -> None:
        await compiling.open("x", ONE, Sampling(max_tokens=5, deadline=time.monotonic() + 0.05))

    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        asyncio.run(main())


def test_only_so_many_may_wait(compiling: Guides, slow: Slow) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(compiling.open("x", ONE, SAMPLING)) for _ in range(4)]
        await waiting(compiling, 4)
        with pytest.raises(Overloaded, match="4 requests wait for their guides to be compiled: try again"):
            await compiling.open("x", ONE, SAMPLING)
        slow.may.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())


@pytest.mark.parametrize("text", ["(", "panic"])
def test_a_guide_that_is_none_is_that_request_s_error_each_time(
    compiling: Guides, slow: Slow, text: str
) -> None:
    slow.may.set()
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="guided_decoding_guide cannot be followed"):
            asyncio.run(compiling.open("x", Guide("regex", text), SAMPLING))
    assert slow.asked == [text] * 2
    assert asyncio.run(compiling.open("x", ONE, SAMPLING)) is not None


def test_nothing_is_read_before_the_first_guide_comes(tmp_path: Path) -> None:
    made = Guides(tmp_path / "absent.json", most=1)
    with pytest.raises(EngineError, match="what compiles guides did not start"):
        asyncio.run(made.open("x", ONE, SAMPLING))
    made.close()
    with pytest.raises(Overloaded, match="shutting down"):
        asyncio.run(made.open("x", TWO, SAMPLING))


@pytest.fixture
def rehearsal(tokenizer_folder: Path) -> Iterator[Rehearsal]:
    pytest.importorskip("llguidance")
    made = Rehearsal(tokenizer_folder / "tokenizer.json")
    yield made
    made.close()


def test_what_can_be_compiled_passes_and_what_cannot_is_told(rehearsal: Rehearsal) -> None:
    rehearsal.require(ONE)
    with pytest.raises(InvalidRequest, match="unclosed group"):
        rehearsal.require(Guide("regex", "("))
    with pytest.raises(InvalidRequest, match="at most 65536 are taken"):
        rehearsal.require(Guide("regex", "a" * 70_000))
    rehearsal.require(TWO)


ENDLESS = {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{place}}}"} for place in range(1, 40)]}


def test_what_takes_for_ever_is_refused(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "SECONDS", 0.5)
    with pytest.raises(InvalidRequest, match=r"takes more than 0\.5 seconds"):
        rehearsal.require(Guide("json_schema", json.dumps(ENDLESS)))
    monkeypatch.undo()
    rehearsal.require(ONE)


def test_what_ends_the_process_is_refused(rehearsal: Rehearsal) -> None:
    rehearsal.require(ONE)
    process = rehearsal._process
    assert process is not None
    process.kill()
    with pytest.raises(InvalidRequest, match="takes more memory than there is"):
        rehearsal.require(TWO)
    rehearsal.require(TWO)


def test_the_process_ends_with_who_asks_it(rehearsal: Rehearsal) -> None:
    rehearsal.require(ONE)
    process, connection = rehearsal._process, rehearsal._connection
    assert process is not None and connection is not None
    connection.close()
    assert process.wait(20) == 0


@pytest.mark.parametrize("rules", [100, 2500])
def test_rules_may_lead_to_rules_for_long(rehearsal: Rehearsal, rules: int) -> None:
    lines = [f'r{place} ::= "(" r{place + 1} ")" | "x"' for place in range(rules)]
    text = "\n".join(["root ::= r0", *lines, f'r{rules} ::= "a"'])
    try:
        rehearsal.require(Guide("ebnf_grammar", text))
    except InvalidRequest as refused:
        assert "65536" in str(refused) and len(text) > 65536
