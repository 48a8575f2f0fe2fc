"""Pieces on their way from several hearings to one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.gateway.triton import inbox
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.inbox import Inbox

LONG = 60.0


class Said:
    """A hearing that says texts, lets others go first where a text is "", and may end badly."""

    def __init__(self, texts: Sequence[str], failure: Failure | None = None, forever: bool = False) -> None:
        self._texts = list(texts)
        self._failure = failure
        self._forever = forever
        self.read_so_far = 0
        self.cancelled = False

    async def read(self) -> Piece | None:
        while self._texts:
            text = self._texts.pop(0)
            if text:
                self.read_so_far += 1
                return Piece(text, "")
            await asyncio.sleep(0)
        if self._failure:
            raise self._failure
        if self._forever:
            await asyncio.Event().wait()
        return None

    def cancel(self) -> None:
        self.cancelled = True


def box(*said: Said, seconds: float = LONG) -> Any:
    hearings: Any = said
    return Inbox(hearings, seconds)


texts = st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=20)


@given(st.lists(texts, min_size=1, max_size=4))
def test_nothing_is_lost_or_reordered(scripts: list[list[str]]) -> None:
    async def all_of_it() -> list[list[str]]:
        heard: list[list[str]] = [[] for _ in scripts]
        made = box(*map(Said, scripts))
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
        other = Said([], forever=True)
        made = box(Said(script, Failure(Kind.INVALID, "no")), other)
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
        made = box(Said("abcdef"))
        sizes = []
        while (pieces := await made.take()) is not None:
            sizes.append(len(pieces))
        made.cancel()
        return sizes

    assert asyncio.run(taken()) == [6]


def test_silence_is_told() -> None:
    async def first_and_last() -> tuple[Any, Any]:
        said = Said([], forever=True)
        made = box(said, seconds=0.01)
        first = await made.take()
        made.cancel()
        assert said.cancelled
        return first, await made.take()

    assert asyncio.run(first_and_last()) == ([], None)


def test_a_client_that_does_not_read_holds_nothing_up_but_itself() -> None:
    async def read() -> tuple[int, int]:
        said = Said("a" * (3 * inbox.MOST_WAITING))
        made = box(said)
        for _ in range(5):
            await asyncio.sleep(0)
        before = said.read_so_far
        while await made.take() is not None:
            pass
        made.cancel()
        return before, said.read_so_far

    assert asyncio.run(read()) == (inbox.MOST_WAITING, 3 * inbox.MOST_WAITING)
