"""Pieces on their way from several hearings to one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.hearing import Piece, Said
from builder.gateway.triton.inbox import Inbox

LONG = 60.0


class Saying:
    """A hearing that says texts, lets others go first where a text is "", and may end badly."""

    def __init__(self, texts: Sequence[str], failure: Failure | None = None, forever: bool = False) -> None:
        self._texts = texts
        self._failure = failure
        self._forever = forever
        self.went_on = 0
        self.cancelled = False

    def begin(self, tell: Callable[[Said], object]) -> Saying:
        self._task = asyncio.create_task(self._say(tell))
        return self

    async def _say(self, tell: Callable[[Said], object]) -> None:
        for text in self._texts:
            if text:
                tell(Piece(text, ""))
            else:
                await asyncio.sleep(0)
        if not self._forever:
            tell(self._failure)

    def go_on(self) -> None:
        self.went_on += 1

    def cancel(self) -> None:
        self._task.cancel()
        self.cancelled = True


def box(*said: Saying, seconds: float = LONG) -> Inbox:
    return Inbox([one.begin for one in said], seconds)


texts = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=20)


@given(st.lists(texts, min_size=1, max_size=4))
def test_nothing_is_lost_or_reordered(scripts: list[list[str]]) -> None:
    async def all_of_it() -> list[list[str]]:
        heard: list[list[str]] = [[] for _ in scripts]
        made = box(*map(Saying, scripts))
        while (pieces := await made.take()) is not None:
            assert pieces
            for place, piece in pieces:
                heard[place].append(piece.text)
        made.cancel()
        return heard

    assert asyncio.run(all_of_it()) == [[text for text in script if text] for script in scripts]


@given(texts)
def test_a_failure_comes_after_what_was_said_before_it(script: list[str]) -> None:
    async def until_it_fails() -> list[str]:
        other = Saying([], forever=True)
        made = box(Saying(script, Failure(Kind.INVALID, "no")), other)
        heard = []
        with pytest.raises(Failure, match="no"):
            while (pieces := await made.take()) is not None:
                heard += [piece.text for _, piece in pieces]
        assert other.cancelled
        made.cancel()
        return heard

    assert asyncio.run(until_it_fails()) == [text for text in script if text]


def test_all_that_is_ready_is_taken_at_once() -> None:
    async def taken() -> list[int]:
        made = box(Saying("abcdef"))
        sizes = []
        while (pieces := await made.take()) is not None:
            sizes.append(len(pieces))
        made.cancel()
        return sizes

    assert asyncio.run(taken()) == [6]


def test_silence_is_told() -> None:
    async def first_and_last() -> tuple[Any, Any]:
        said = Saying([], forever=True)
        made = box(said, seconds=0.01)
        first = await made.take()
        made.cancel()
        assert said.cancelled
        return first, await made.take()

    assert asyncio.run(first_and_last()) == ([], None)


def test_only_what_is_taken_makes_room_for_more() -> None:
    async def went_on() -> list[int]:
        said = Saying(["a", "b", "", "c"])
        made, seen = box(said), []
        await asyncio.sleep(0)
        seen.append(said.went_on)
        while await made.take() is not None:
            seen.append(said.went_on)
        made.cancel()
        return seen

    assert asyncio.run(went_on()) == [0, 1, 2]
