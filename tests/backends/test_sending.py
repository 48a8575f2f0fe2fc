"""Responses are sent in order, several at once, and never faster than they are taken."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.front.answer import Answer
from backends.front.generation import Chunk
from backends.front.outputs import Maker, Outputs
from backends.front.sending import THREADS, Sending


@contextmanager
def sending() -> Iterator[Sending]:
    """Yield what sends for a loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Sending(loop)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        made.close()
        loop.close()


def in_loop(made: Sending, work: Callable[[], Any]) -> Any:
    """Return what `work` returns, called by the loop."""

    async def task() -> Any:
        return work()

    return asyncio.run_coroutine_threadsafe(task(), made._loop).result(10)


@given(st.lists(st.integers(0, 9), max_size=60))
def test_every_call_is_made_once_and_those_of_an_answer_in_their_order(answers: list[int]) -> None:
    heard: dict[int, list[int]] = defaultdict(list)
    with sending() as made:

        def leave() -> None:
            for place, answer in enumerate(answers):
                made.put(answer, lambda answer=answer, place=place: heard[answer].append(place))  # type: ignore[misc]

        in_loop(made, leave)
        in_loop(made, lambda: None)
    assert heard == {one: [place for place, a in enumerate(answers) if a == one] for one in set(answers)}


def test_calls_of_several_answers_are_under_way_at_once() -> None:
    all_there = threading.Barrier(THREADS)
    with sending() as made:
        in_loop(made, lambda: [made.put(answer, lambda: all_there.wait(10)) for answer in range(THREADS)])
        in_loop(made, lambda: None)
    assert not all_there.broken


def test_the_loop_goes_on_when_all_is_taken() -> None:
    taken = threading.Event()
    seen: list[bool] = []
    with sending() as made:

        def leave() -> None:
            made.put(1, lambda: taken.wait(10))  # type: ignore[arg-type, return-value]
            made._loop.call_soon(lambda: seen.append(taken.is_set()))

        threading.Timer(0.05, taken.set).start()
        in_loop(made, leave)
        in_loop(made, lambda: None)
    assert seen == [True]


class Sender:
    """A response sender that fails at its second response; `heard` are what it was given."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send(self, response: Any = None, flags: int = 0) -> None:
        self.heard.append((response, flags))
        if len(self.heard) == 2:
            raise RuntimeError("no space left in shared memory")


def test_after_a_response_that_could_not_be_sent_the_answer_ends_with_the_reason() -> None:
    utilities = SimpleNamespace(
        InferenceResponse=SimpleNamespace,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
        TritonError=type("TritonError", (), {"INTERNAL": 13, "__init__": _keep}),
    )
    sender, chunk = Sender(), Chunk("a", "", (7,), (), (), 0.0, 1, 0, "")
    with sending() as made:
        outputs = Outputs(Maker(lambda name, array: name), ["text_output"])
        answer = Answer(utilities, sender, made, outputs, 3, 0.0)
        in_loop(made, lambda: answer.send(chunk, 1, ()))
        in_loop(made, lambda: (answer.send(chunk, 1, ()), answer.send(chunk, 1, ()), answer.end()))
        in_loop(made, lambda: None)
        with pytest.raises(RuntimeError, match="no space left"):
            in_loop(made, lambda: answer.send(chunk, 1, ()))
        in_loop(made, lambda: answer.fail(RuntimeError("later")))
        in_loop(made, lambda: None)
    first, second, last = sender.heard
    assert (first[1], second[1], last[1]) == (0, 0, 1)
    assert last[0].error.told == ("RuntimeError: no space left in shared memory", 13)


def _keep(self: Any, *told: Any) -> None:
    self.told = told
