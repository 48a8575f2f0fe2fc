"""Who is asked whether they are still there, and how often."""

from __future__ import annotations

import asyncio
import math

import pytest

from backends.front import lookout
from backends.front.lookout import Lookout


class Answer:
    """Counts how often it was looked at."""

    def __init__(self, name: str, gone: bool = False) -> None:
        self.name, self.gone, self.looks = name, gone, 0

    def is_cancelled(self) -> bool:
        self.looks += 1
        return self.gone


async def until_some(aborted: list[str]) -> None:
    async with asyncio.timeout(10):
        while not aborted:
            await asyncio.sleep(0.01)


def test_one_that_brings_nothing_is_looked_at_too() -> None:
    aborted: list[str] = []

    async def main() -> None:
        watch = Lookout(aborted.append)
        here, gone = Answer("here"), Answer("gone", gone=True)
        watch.enter(here)
        watch.enter(gone)
        await until_some(aborted)
        assert watch.has_gone(gone)
        assert not watch.has_gone(here)
        watch.leave(gone)
        watch.leave(here)

    asyncio.run(main())
    assert aborted == ["gone"]


def test_one_that_flows_is_looked_at_between_its_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "SECONDS_OF_PATIENCE", math.inf)
    aborted: list[str] = []

    async def main() -> None:
        watch = Lookout(aborted.append)
        waiting, flowing = Answer("waiting"), Answer("flowing")
        watch.enter(waiting)
        watch.enter(flowing)
        assert not watch.has_gone(flowing)
        await asyncio.sleep(5 / lookout.ROUNDS_A_SECOND)
        assert waiting.looks == 0
        flowing.gone = True
        await until_some(aborted)
        assert watch.has_gone(flowing)
        looks = flowing.looks
        await asyncio.sleep(5 / lookout.ROUNDS_A_SECOND)
        # who left may have left with others
        assert (flowing.looks, waiting.looks) == (looks, 1)
        watch.leave(waiting)
        watch.leave(flowing)

    asyncio.run(main())
    assert aborted == ["flowing"]


def test_a_look_at_each_response_but_the_first_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time at all between looks: every response is one."""
    monkeypatch.setattr(lookout, "LOOKS_A_SECOND", 1e9)

    async def main() -> None:
        watch, answer = Lookout(lambda name: None), Answer("one")
        watch.enter(answer)
        for _ in range(4):
            assert not watch.has_gone(answer)
        assert answer.looks == 3
        answer.gone = True
        assert watch.has_gone(answer)
        assert watch.has_gone(answer)
        assert answer.looks == 4
        watch.leave(answer)

    asyncio.run(main())


def test_many_responses_are_not_many_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "LOOKS_A_SECOND", 1e-3)

    async def main() -> None:
        watch, answer = Lookout(lambda name: None), Answer("one", gone=True)
        watch.enter(answer)
        assert not any(watch.has_gone(answer) for _ in range(100))
        watch.leave(answer)
        assert answer.looks == 0

    asyncio.run(main())


def test_the_rounds_look_at_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "ROUNDS_A_SECOND", 1000)
    monkeypatch.setattr(lookout, "SECONDS_OF_PATIENCE", 0)
    answers = [Answer(str(place)) for place in range(5)]

    async def main() -> None:
        watch = Lookout(lambda name: None)
        for answer in answers:
            watch.enter(answer)
        async with asyncio.timeout(10):
            while sum(answer.looks for answer in answers) < 23:
                await asyncio.sleep(0)
        for answer in answers:
            watch.leave(answer)

    asyncio.run(main())
    assert sorted(answer.looks for answer in answers) == [4, 4, 5, 5, 5]


def test_who_leaves_with_others_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred go at once: one of them is found by a round, the others by the one before."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        if seconds:
            slept.append(seconds)
        await sleep(seconds / 100)

    aborted: list[str] = []
    answers = [Answer(str(place), gone=place > 1) for place in range(100)]

    async def main() -> None:
        watch = Lookout(aborted.append)
        for answer in answers:
            watch.enter(answer)
        async with asyncio.timeout(20):
            while len(aborted) < 98:
                await sleep(0)
        for answer in answers:
            watch.leave(answer)

    monkeypatch.setattr(lookout, "SECONDS_OF_PATIENCE", 0)
    monkeypatch.setattr(lookout.asyncio, "sleep", counted)
    asyncio.run(main())
    # both that stayed may have ended a run of looks
    assert len(slept) <= 5
    assert [answer.looks for answer in answers[2:]] == [1] * 98


def test_it_ends_with_the_last_answer_and_begins_again() -> None:
    aborted: list[str] = []

    async def main() -> None:
        watch = Lookout(aborted.append)
        for name in ("first", "second"):
            answer = Answer(name, gone=True)
            watch.enter(answer)
            await until_some(aborted)
            watch.leave(answer)
            assert aborted.pop() == name
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
