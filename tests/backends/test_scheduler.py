"""Admission, order, deadlines, cancellation and failure, with runners that need no library."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from backends.engine.mailbox import merge
from backends.engine.protocol import DeadlineExceeded, EngineError, InvalidRequest, Overloaded, Sampling, Step
from backends.engine.scheduler import Scheduler, require_room

LIMIT = 20.0


class Counter:
    """Generates 0, 1, 2, ...; waits for `gate` before each turn and may fail on one of them."""

    def __init__(self, length: int, gate: threading.Event | None = None, fails: Any = None) -> None:
        self.length, self.gate, self.fails, self.turns = length, gate, fails, 0
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def turn(self) -> Step | None:
        if self.gate:
            assert self.gate.wait(LIMIT)
        if self.fails and self.turns == self.length - 1:
            raise self.fails
        self.turns += 1
        return Step((self.turns - 1,), (0.5,), "length" if self.turns == self.length else None)


class Endless(Counter):
    """Generates until it is stopped, slowly enough to be stopped in time."""

    def __init__(self) -> None:
        super().__init__(2**40)

    def turn(self) -> Step | None:
        time.sleep(0.001)
        return super().turn()


@pytest.fixture
def make() -> Iterator[Callable[..., Scheduler]]:
    made: list[Scheduler] = []

    def create(active: int = 2, waiting: int = 4, **options: Any) -> Scheduler:
        made.append(Scheduler(active, waiting, **options))
        return made[-1]

    yield create
    for scheduler in made:
        scheduler.close()


async def collect(scheduler: Scheduler, runner: Any, name: str = "one", **sampling: Any) -> list[Step]:
    start = runner if callable(runner) else lambda: runner
    options = Sampling(**{"max_tokens": 1, **sampling})
    return [step async for step in scheduler.generate(name, start, options)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not holds():
            await asyncio.sleep(0.002)


def ids(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.ids]


def test_steps_arrive_in_order_and_are_counted(make: Callable[..., Scheduler]) -> None:
    scheduler = make()
    steps = asyncio.run(collect(scheduler, Counter(50)))
    assert ids(steps) == list(range(50))
    assert [step.finish_reason for step in steps][-1] == "length"
    assert not any(step.finish_reason for step in steps[:-1])
    assert (scheduler.health().steps, scheduler.health().generated_tokens) == (50, 50)
    assert (scheduler.health().active, scheduler.health().waiting) == (0, 0)
    assert steps[0].waited is not None and steps[0].waited >= 0
    assert all(step.waited is None for step in steps[1:])


def test_first_come_first_served_with_a_bound(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=2, waiting=20)
    started: list[int] = []
    most = 0

    def start(number: int) -> Counter:
        nonlocal most
        started.append(number)
        most = max(most, scheduler.health().active)
        return Counter(3)

    async def main() -> list[list[Step]]:
        tasks = [collect(scheduler, lambda number=number: start(number)) for number in range(12)]
        return await asyncio.gather(*tasks)

    assert all(ids(steps) == [0, 1, 2] for steps in asyncio.run(main()))
    assert started == list(range(12))
    assert most == 2


def test_sequences_take_turns(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=2)
    order: list[str] = []

    class Named(Counter):
        def __init__(self, name: str) -> None:
            super().__init__(5)
            self.name = name

        def turn(self) -> Step | None:
            order.append(self.name)
            return super().turn()

    async def main() -> None:
        await asyncio.gather(collect(scheduler, Named("a")), collect(scheduler, Named("b")))

    asyncio.run(main())
    both = order[order.index("b") :]
    assert all(one != other for one, other in pairwise(both[:7]))


def test_what_exceeds_the_line_is_refused_with_numbers(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=1, waiting=1)
    gate = threading.Event()

    async def main() -> None:
        tasks = [asyncio.create_task(collect(scheduler, Counter(1, gate))) for _ in range(2)]
        await until(lambda: (scheduler.health().active, scheduler.health().waiting) == (1, 1))
        with pytest.raises(Overloaded, match="1 requests are running and 1 waiting"):
            await collect(scheduler, Counter(1))
        gate.set()
        assert [ids(steps) for steps in await asyncio.gather(*tasks)] == [[0], [0]]
        assert ids(await collect(scheduler, Counter(1))) == [0]

    asyncio.run(main())


def test_deadline_ends_what_runs(make: Callable[..., Scheduler]) -> None:
    scheduler = make()
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        asyncio.run(collect(scheduler, Endless(), deadline=time.monotonic() + 0.05))
    assert scheduler.health().active == 0
    assert scheduler.health().cancelled == 0


def test_deadline_ends_what_waits_while_another_runs(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=1)

    async def main() -> None:
        running = asyncio.create_task(collect(scheduler, Endless(), "running"))
        await until(lambda: scheduler.health().active == 1)
        never = Counter(1)
        with pytest.raises(DeadlineExceeded):
            await collect(scheduler, never, deadline=time.monotonic() + 0.03)
        assert never.turns == 0
        scheduler.abort("running")
        await running

    asyncio.run(main())


def test_abort_cancels_within_one_turn(make: Callable[..., Scheduler]) -> None:
    scheduler = make()
    runner = Endless()

    async def main() -> None:
        steps: list[Step] = []
        async for step in scheduler.generate("mine", lambda: runner, Sampling(max_tokens=1)):
            steps.append(step)
            if len(steps) == 1:
                scheduler.abort("mine")
                before = runner.turns
        assert runner.turns <= before + 1
        assert steps[-1].finish_reason == "cancelled"

    asyncio.run(main())
    assert scheduler.health().cancelled == 1
    assert scheduler.health().active == 0


def test_abort_removes_what_waits_and_spares_others(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=1)
    gate = threading.Event()

    async def main() -> None:
        running = asyncio.create_task(collect(scheduler, Counter(2, gate), "running"))
        await until(lambda: scheduler.health().active == 1)
        waiting = asyncio.create_task(collect(scheduler, Counter(1), "waiting"))
        await until(lambda: scheduler.health().waiting == 1)
        scheduler.abort("waiting")
        scheduler.abort("nobody")
        gate.set()
        assert [step.finish_reason for step in await waiting] == ["cancelled"]
        assert ids(await running) == [0, 1]

    asyncio.run(main())
    assert scheduler.health().cancelled == 1


def test_leaving_the_iterator_frees_the_place(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=1)

    async def main() -> None:
        async with aclosing(scheduler.generate("left", Endless, Sampling(max_tokens=1))) as steps:
            await anext(steps)
        assert ids(await collect(scheduler, Counter(3))) == [0, 1, 2]
        await until(lambda: scheduler.health().active == 0)

    asyncio.run(main())
    assert scheduler.health().cancelled == 0


def test_a_loop_that_has_closed_frees_the_place(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=1)
    loop = asyncio.new_event_loop()
    steps = scheduler.generate("gone", Endless, Sampling(max_tokens=1))
    loop.run_until_complete(anext(steps))
    loop.close()
    assert ids(asyncio.run(collect(scheduler, Counter(2)))) == [0, 1]


def test_steps_that_pile_up_become_one_in_order(make: Callable[..., Scheduler]) -> None:
    scheduler = make()

    async def main() -> list[Step]:
        found = []
        async for step in scheduler.generate("slow", lambda: Counter(40), Sampling(max_tokens=1)):
            found.append(step)
            if len(found) == 1:
                time.sleep(0.5)
        return found

    steps = asyncio.run(main())
    assert ids(steps) == list(range(40))
    assert len(steps) < 40
    assert sum(len(step.log_probs) for step in steps) == 40
    assert steps[-1].finish_reason == "length"


def test_merge_keeps_order_and_the_last_reason() -> None:
    merged = merge([Step((1, 2), (0.1, 0.2), waited=0.5), Step((3,), (0.3,)), Step((), (), "stop")])
    assert merged == Step((1, 2, 3), (0.1, 0.2, 0.3), "stop", 0.5)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (RuntimeError("broken"), EngineError, "the engine failed on this request: broken"),
        (InvalidRequest("mine"), InvalidRequest, "mine"),
    ],
)
def test_a_failing_sequence_harms_no_other(
    make: Callable[..., Scheduler], error: Exception, kind: type[Exception], text: str
) -> None:
    scheduler = make(active=3)

    async def main() -> list[Any]:
        runners = [Counter(9), Counter(4, fails=error), Counter(9)]
        return await asyncio.gather(
            *(collect(scheduler, runner) for runner in runners), return_exceptions=True
        )

    first, failed, last = asyncio.run(main())
    assert ids(first) == ids(last) == list(range(9))
    assert isinstance(failed, kind)
    assert str(failed) == text
    assert scheduler.health().active == 0
    assert scheduler.health().failure is None


def test_a_sequence_that_cannot_start_harms_no_other(make: Callable[..., Scheduler]) -> None:
    scheduler = make()

    def start() -> Counter:
        raise MemoryError("no room for its cache")

    with pytest.raises(EngineError, match="no room"):
        asyncio.run(collect(scheduler, start))
    assert ids(asyncio.run(collect(scheduler, Counter(1)))) == [0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_worker_is_told_to_everybody(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=2, waiting=4)
    gate = threading.Event()

    async def main() -> list[Any]:
        runners = [Counter(9, gate), Counter(1, gate, KeyboardInterrupt("stop")), Counter(9), Counter(9)]
        tasks = [asyncio.create_task(collect(scheduler, runner)) for runner in runners]
        await until(lambda: scheduler.health().waiting == 2)
        gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT)

    found = asyncio.run(main())
    assert [type(error) for error in found] == [EngineError] * 4
    assert all("KeyboardInterrupt: stop" in str(error) for error in found)
    assert scheduler.health().failure == "KeyboardInterrupt: stop"
    with pytest.raises(EngineError, match="the engine has failed"):
        asyncio.run(collect(scheduler, Counter(1)))


def test_close_finishes_what_runs_and_waits_and_takes_no_more() -> None:
    scheduler = Scheduler(1, 4)
    gate = threading.Event()

    async def main() -> None:
        tasks = [asyncio.create_task(collect(scheduler, Counter(5, gate))) for _ in range(3)]
        await until(lambda: scheduler.health().waiting == 2)
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        await until(lambda: scheduler._closing)
        with pytest.raises(Overloaded, match="shutting down"):
            await collect(scheduler, Counter(1))
        gate.set()
        assert [ids(steps) for steps in await asyncio.gather(*tasks)] == [list(range(5))] * 3
        await asyncio.wait_for(closing, LIMIT)

    asyncio.run(main())
    assert not scheduler._thread.is_alive()


def test_many_tasks_in_many_loops(make: Callable[..., Scheduler]) -> None:
    scheduler = make(active=8, waiting=400)
    found: list[list[int]] = []

    async def main() -> None:
        tasks = [collect(scheduler, Counter(20), f"{number}") for number in range(50)]
        found.extend(ids(steps) for steps in await asyncio.gather(*tasks))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(20))] * 200
    assert scheduler.health().generated_tokens == 4000


def test_a_runner_that_only_reads_delivers_nothing(make: Callable[..., Scheduler]) -> None:
    class Reading(Counter):
        def turn(self) -> Step | None:
            step = super().turn()
            return None if self.turns < self.length else step

    scheduler = make()
    assert len(asyncio.run(collect(scheduler, Reading(4)))) == 1
    assert scheduler.health().steps == 4


def test_room_is_required_with_numbers() -> None:
    require_room([1, 2], Sampling(max_tokens=8), 10)
    with pytest.raises(InvalidRequest, match="3 tokens and max_tokens is 8, the context holds 10"):
        require_room([1, 2, 3], Sampling(max_tokens=8), 10)
    with pytest.raises(InvalidRequest, match="empty"):
        require_room([], Sampling(max_tokens=8), 10)


def test_many_sequences_have_their_steps_passed_on_together(make: Callable[..., Scheduler]) -> None:
    """The first step of each comes at once, the last with all that is held, those between when it is time."""
    scheduler = make(active=12, waiting=0, responses_a_second=1e-3)

    async def main() -> list[list[Step]]:
        gate = threading.Event()
        tasks = [asyncio.create_task(collect(scheduler, Counter(9, gate), str(n))) for n in range(12)]
        await until(lambda: scheduler.health().active == 12)
        gate.set()
        return await asyncio.gather(*tasks)

    for steps in asyncio.run(main()):
        assert ids(steps) == list(range(9))
        assert len(steps) <= 3
        assert steps[-1].finish_reason == "length"


def test_held_steps_come_when_it_is_time(make: Callable[..., Scheduler]) -> None:
    """An endless sequence is heard again and again, with many steps at a time."""
    scheduler = make(active=1, waiting=0, responses_a_second=1e-3)

    async def main() -> list[Step]:
        async with aclosing(scheduler.generate("one", Endless, Sampling(max_tokens=1))) as steps:
            return [await anext(steps) for _ in range(4)]

    first, *others = asyncio.run(main())
    assert first.ids == (0,)
    assert all(len(step.ids) > 1 for step in others)


def test_a_round_for_nobody_is_interrupted(make: Callable[..., Scheduler]) -> None:
    """Only when the last who waits for it has gone, by a cancel or by leaving."""
    interrupted: list[int] = []
    scheduler = make(active=2, waiting=0, interrupt=lambda: interrupted.append(scheduler.health().active))

    async def one(name: str) -> None:
        async for step in scheduler.generate(name, Endless, Sampling(max_tokens=1)):
            if step.finish_reason:
                return

    async def main() -> None:
        first, second = (asyncio.create_task(one(name)) for name in ("first", "second"))
        await until(lambda: scheduler.health().active == 2 and scheduler.health().generated_tokens > 10)
        scheduler.abort("first")
        assert not interrupted
        await first
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await until(lambda: scheduler.health().active == 0)

    asyncio.run(main())
    assert interrupted == [1]


def test_who_waits_goes_in_the_order_of_priority_and_of_coming(make: Callable[..., Scheduler]) -> None:
    gate, started = threading.Event(), []
    scheduler = make(active=1, waiting=8)

    def starting(name: str) -> Callable[[], Counter]:
        def start() -> Counter:
            started.append(name)
            return Counter(1)

        return start

    async def main() -> None:
        first = asyncio.create_task(collect(scheduler, Counter(1, gate), priority=100))
        await until(lambda: scheduler.health().active == 1)
        others = []
        for place, priority in enumerate((50, 100, 1, 50, 7, 1)):
            name = f"{priority} {place}"
            others.append(asyncio.create_task(collect(scheduler, starting(name), priority=priority)))
            await until(lambda: scheduler.health().waiting == len(others))
        gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(main())
    assert started == ["1 2", "1 5", "7 4", "50 0", "50 3", "100 1"]


def test_what_was_held_back_comes_before_the_end(make: Callable[..., Scheduler]) -> None:
    """A cancel, and an error, lose nothing that was generated before."""
    scheduler = make(active=12, waiting=0, responses_a_second=1e-3)
    gates = [threading.Event() for _ in range(12)]

    async def read(name: str, runner: Counter) -> tuple[list[int], str]:
        found: list[int] = []
        try:
            async for step in scheduler.generate(name, lambda: runner, Sampling(max_tokens=1)):
                found += step.ids
        except EngineError as error:
            return found, str(error)
        return found, str(step.finish_reason)

    async def main() -> list[tuple[list[int], str]]:
        runners = [Counter(2**40, gates[0]) for _ in range(11)]
        runners.append(Counter(4, gates[0], fails=RuntimeError("broke")))
        tasks = [asyncio.create_task(read(str(n), runner)) for n, runner in enumerate(runners)]
        await until(lambda: scheduler.health().active == 12)
        gates[0].set()
        await until(lambda: runners[0].turns > 20)
        for n in range(11):
            scheduler.abort(str(n))
        return await asyncio.gather(*tasks)

    *cancelled, failed = asyncio.run(main())
    assert failed == ([0, 1, 2], "the engine failed on this request: broke")
    for found, reason in cancelled:
        assert reason == "cancelled"
        assert found == list(range(len(found)))
        assert len(found) > 20
