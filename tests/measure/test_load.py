"""The load itself, through a door that leads nowhere: who is asked when, and what is written down."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.measuring import load
from builder.measuring.door import Answer, Heard
from builder.measuring.errors import Refused
from builder.measuring.load import Run
from builder.measuring.prompts import Order, Prompt, as_text
from builder.measuring.task import Load

PROMPTS = ("one", "two", "three")


@dataclass
class Nowhere:
    """Answers with one token after `seconds`; numbers in `fails` are refused, in `slow` take longer.

    Those in `endless` get no answer.
    """

    seconds: float = 0.005
    fails: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()
    endless: frozenset[int] = frozenset()
    stalls_until: float = 0.0
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    busy: int = 0
    most: int = 0
    left: int = 0

    async def ask(self, prompt: Prompt, heard: Heard) -> None:
        number = len(self.asked)
        self.asked.append(as_text(prompt))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            if number in self.fails:
                raise Refused("not today")
            if self.silent or number in self.endless:
                await asyncio.Event().wait()
            seconds = 10 * self.seconds if number in self.slow else self.seconds
            await asyncio.sleep(max(seconds, self.stalls_until - time.perf_counter()))
            heard.append((time.perf_counter(), b"token"))
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.busy -= 1

    def read(self, heard: Heard) -> Answer:
        return Answer([at for at, _ in heard], [1.0] * len(heard))

    async def close(self) -> None:
        """Nothing is open."""


def put(wanted: Load, door: Nowhere, *, patience: float = 30.0, seed: int = 0) -> Run:
    order = Order(PROMPTS, seed, "salt", "run")
    return asyncio.run(load.run(wanted, door, order, seed, patience, lambda share: None))


def closed(concurrency: int, requests: int, **more: object) -> Load:
    return Load("closed", concurrency=concurrency, requests=requests, **more)  # type: ignore[arg-type]


def test_closed_loop_keeps_its_number_of_workers() -> None:
    door = Nowhere()
    run = put(closed(3, 12), door)
    measured = [record for record in run.records if record.measured]
    assert len(measured) == 12
    assert door.most == 3
    assert not any(record.error for record in measured)
    assert len(set(door.asked)) == len(door.asked), "every prompt is unlike the others"


def test_load_is_kept_up_until_the_last_measured_answer() -> None:
    # the seventh would run alone; what is asked beside it last is still asked when it ends
    door = Nowhere(slow=frozenset({6}), endless=frozenset({9, 10}))
    run = put(closed(3, 7), door)
    measured = [record for record in run.records if record.measured]
    assert len(measured) == 7
    assert run.ended >= max(record.ended for record in measured)
    assert len(run.records) >= 9
    assert door.most == 3
    assert door.left == sum(bool(record.error) for record in run.records) == 2
    assert door.busy == 0


def test_warm_up_asks_no_more_than_its_number() -> None:
    door = Nowhere()
    put(closed(4, 6, kept_up=False), door)
    assert len(door.asked) == 6


def test_seconds_measure_what_begins_within_them() -> None:
    run = put(Load("closed", concurrency=2, seconds=0.1), Nowhere(0.02))
    measured = [record for record in run.records if record.measured]
    assert measured
    assert all(record.due - run.started < 0.1 for record in measured)
    assert run.ended - run.started >= 0.1


def test_open_loop_ends_after_seconds_without_arrivals() -> None:
    run = put(Load("open", rate=50.0, seconds=0.2), Nowhere(0.001))
    measured = [record for record in run.records if record.measured]
    assert all(record.due - run.started < 0.2 for record in measured[1:])
    assert not any(record.error for record in measured)


def test_open_loop_sends_when_due_however_slow_the_answers() -> None:
    door = Nowhere(seconds=0.5)
    run = put(Load("open", rate=100.0, requests=20), door)
    measured = [record for record in run.records if record.measured]
    assert door.most >= 20, "nobody waited for an answer before asking"
    expected = list(itertools.islice(load.arrivals(100.0, 0), 20))
    assert [record.due - run.started for record in measured] == pytest.approx(expected)
    assert all(record.sent >= record.due for record in measured)


def test_a_stalled_server_shows_in_every_latency_from_the_schedule() -> None:
    until = time.perf_counter() + 0.4
    run = put(Load("open", rate=200.0, requests=30), Nowhere(0.001, stalls_until=until))
    stalled = [record for record in run.records if record.measured and record.due < until]
    assert len(stalled) >= 10
    waited = [record.heard[0][0] - record.due for record in stalled]
    assert all(wait >= until - record.due for wait, record in zip(waited, stalled, strict=True))


def test_a_queue_makes_latencies_grow() -> None:
    """A server that serves one after the other, slower than they come: the last waited longest."""

    class OneByOne(Nowhere):
        async def ask(self, prompt: Prompt, heard: Heard) -> None:
            async with lock:
                await super().ask(prompt, heard)

    lock = asyncio.Lock()
    run = put(Load("open", rate=500.0, requests=20), OneByOne(0.02))
    waits = [record.heard[0][0] - record.due for record in run.records if record.measured]
    assert waits[-1] >= 20 * 0.02 - (run.records[19].due - run.started)
    assert waits[-1] > waits[0]


def test_silence_is_given_up_and_ends_the_run() -> None:
    run = put(closed(2, 50), Nowhere(silent=True), patience=0.1)
    assert run.gave_up.startswith("2 requests in a row failed")
    assert "no response within 0.1 s" in run.gave_up
    assert all(record.error for record in run.records)


def test_a_server_that_is_gone_ends_the_run() -> None:
    door = Nowhere(fails=frozenset(range(5, 10_000)))
    run = put(closed(2, 5000), door)
    assert "not today" in run.gave_up
    assert len(door.asked) < 100


def test_a_refusal_now_and_then_is_counted_and_no_more() -> None:
    run = put(closed(2, 20), Nowhere(fails=frozenset({3, 7})))
    assert not run.gave_up
    assert sum(record.error == "not today" for record in run.records if record.measured) == 2


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 1000.0), st.integers(0, 2**32))
def test_arrivals_are_a_poisson_process(rate: float, seed: int) -> None:
    due = list(itertools.islice(load.arrivals(rate, seed), 2000))
    gaps = [after - before for before, after in itertools.pairwise([0.0, *due])]
    assert due == list(itertools.islice(load.arrivals(rate, seed), 2000))
    assert all(gap >= 0 for gap in gaps)
    # exponential gaps: mean and deviation are both 1 / rate; 2000 of them stay within 6 sigma
    mean = sum(gaps) / len(gaps) * rate
    assert abs(mean - 1) < 6 / 2000**0.5
    longer = sum(gap * rate > 1 for gap in gaps) / len(gaps)
    assert abs(longer - 0.3679) < 6 * (0.3679 * 0.6321 / 2000) ** 0.5
