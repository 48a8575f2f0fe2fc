"""An engine in a process of its own: order, coalescing, refusals, aborts, death and another start."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import counting_engine
import pytest
from counting_engine import PATIENT
from processes import alive, children, until

from backends import turns
from backends.engine import hosted, process
from backends.engine.hosted import Hosted
from backends.engine.protocol import DeadlineExceeded, EngineError, InvalidRequest, Overloaded, Sampling, Step
from builder import house

Start = Callable[..., Hosted]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what makes a version folder as a repository has it, with the counting engine, and starts it."""
    started: list[Hosted] = []
    shutil.copytree(house.folder("backends"), tmp_path / "backends")
    shutil.copy(Path(counting_engine.__file__), tmp_path / "backends" / "engine" / "counting_engine.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(hosted, "FIRST_PAUSE", 0.05)

    def start(seconds: float = 0.0, context: int = 10**6, active: int = 64, waiting: int = 64) -> Hosted:
        settings = {
            "seconds": seconds, "context_length": context, "max_active": active, "max_waiting": waiting,
        }  # fmt: skip
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        started.append(counting_engine.create(settings, tmp_path))
        return started[-1]

    yield start
    for engine in started:
        engine.close()


async def collect(engine: Hosted, *ids: int, name: str = "one", **sampling: Any) -> list[Step]:
    return [step async for step in engine.generate(name, ids, Sampling(**{"max_tokens": 5, **sampling}))]


def tokens(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.ids]


def test_only_the_process_itself_takes_turns_sooner(start: Start, tmp_path: Path) -> None:
    """What a library forks while it loads keeps the interval that it had then."""
    asyncio.run(collect(start(), 1, 7))
    at_load, at_step = map(float, (tmp_path / "turns").read_text().split())
    assert at_load == pytest.approx(0.005)
    assert at_step == pytest.approx(turns.SECONDS)


def test_every_token_arrives_once_and_in_order(start: Start) -> None:
    engine = start()

    async def main() -> list[list[Step]]:
        return await asyncio.gather(*(collect(engine, 1, 100 * n, max_tokens=200) for n in range(40)))

    for number, steps in enumerate(asyncio.run(main())):
        assert tokens(steps) == list(range(100 * number + 1, 100 * number + 201))
        assert [value for step in steps for value in step.log_probs] == [-float(one) for one in tokens(steps)]
        assert [top for step in steps for top in step.tops] == [((one, -1.0),) for one in tokens(steps)]
        assert [step.finish_reason for step in steps if step.finish_reason] == ["length"]
    health = engine.health()
    assert (health.active, health.waiting, health.generated_tokens) == (0, 0, 40 * 200)


def test_tokens_come_one_by_one_to_a_reader_that_keeps_up(start: Start) -> None:
    engine = start(seconds=0.02)
    assert [len(step.ids) for step in asyncio.run(collect(engine, 1, 7, max_tokens=20))].count(1) >= 18


def test_a_slow_reader_gets_fewer_longer_steps_and_nobody_waits_for_it(start: Start) -> None:
    engine = start(seconds=0.001)

    async def main() -> tuple[list[Step], list[Step]]:
        slow: list[Step] = []
        asking = Sampling(max_tokens=300)
        async with aclosing(engine.generate("slow", (1, 0), asking)) as steps:  # type: ignore[type-var]
            async for step in steps:
                slow.append(step)
                if len(slow) == 1:
                    quick = await collect(engine, 1, 0, max_tokens=300)
        return slow, quick

    slow, quick = asyncio.run(main())
    assert tokens(slow) == tokens(quick) == list(range(1, 301))
    assert len(slow) < 10 < len(quick)


def test_the_engine_knows_of_a_sequence_before_anybody_reads_it(start: Start) -> None:
    engine = start()
    steps = engine.generate("one", (1, 7), Sampling(max_tokens=5))
    until(lambda: engine.health().generated_tokens == 5)

    async def main() -> list[Step]:
        return [step async for step in steps]

    assert tokens(asyncio.run(main())) == [8, 9, 10, 11, 12]


def test_a_sequence_that_nobody_has_read_yet_can_be_ended(start: Start) -> None:
    engine = start(seconds=0.01)
    steps = [engine.generate("one", (1, 7), Sampling(max_tokens=10**5)) for _ in range(2)]
    until(lambda: engine.health().active == 2)
    engine.abort("one")

    async def main() -> list[list[Step]]:
        return [[step async for step in one] for one in steps]

    for found in asyncio.run(main()):
        assert [step.finish_reason for step in found if step.finish_reason] == ["cancelled"]
    until(lambda: engine.health().active == 0)


def test_a_sequence_that_nobody_has_read_yet_hears_that_the_engine_ended(start: Start) -> None:
    engine = start(seconds=0.01)
    steps = engine.generate("one", (1, 7), Sampling(max_tokens=10**5))
    until(lambda: engine.health().generated_tokens > 0)
    os.kill(engine._process._process.pid, signal.SIGKILL)
    until(lambda: engine.health().active == 0)

    async def main() -> None:
        async for _ in steps:
            pass

    with pytest.raises(EngineError, match="SIGKILL"):
        asyncio.run(main())


def test_scores_follow_the_prompt(start: Start) -> None:
    engine = start()
    assert asyncio.run(engine.score([1, 20, 30])) == [-20.0, -30.0]
    assert asyncio.run(engine.score([1])) == []


def test_one_refused_request_leaves_the_others_alone(start: Start) -> None:
    engine = start(seconds=0.005)

    async def main() -> list[Any]:
        asked = [(1, 10), (counting_engine.REFUSED, 10), (1, 50)]
        return await asyncio.gather(*(collect(engine, *ids) for ids in asked), return_exceptions=True)

    first, refused, last = asyncio.run(main())
    assert (tokens(first), tokens(last)) == ([11, 12, 13, 14, 15], [51, 52, 53, 54, 55])
    assert isinstance(refused, InvalidRequest) and str(refused) == "not this one"
    assert engine.health().waiting == 0


def test_what_does_not_fit_is_refused_before_it_is_sent(start: Start) -> None:
    engine = start(context=8)
    with pytest.raises(InvalidRequest, match="prompt has 4 tokens and max_tokens is 5, the context holds 8"):
        asyncio.run(collect(engine, 1, 2, 3, 4))


def test_beyond_all_places_requests_are_turned_away(start: Start) -> None:
    engine = start(seconds=0.01, active=2, waiting=1)

    async def main() -> list[Any]:
        return await asyncio.gather(*(collect(engine, 1, n) for n in range(5)), return_exceptions=True)

    found = asyncio.run(main())
    assert [type(one) for one in found] == [list, list, list, Overloaded, Overloaded]
    assert "3 requests are running or waiting" in str(found[3])


def test_a_request_is_taken_while_a_step_waits(start: Start, tmp_path: Path) -> None:
    """The first one's steps bring nothing until the second is there."""
    engine = start()

    async def main() -> list[list[Step]]:
        first = asyncio.create_task(collect(engine, PATIENT, 0, name="first"))
        while not (tmp_path / "waits").exists():
            await asyncio.sleep(0.01)
        both = asyncio.gather(first, collect(engine, 1, 7, name="second"))
        return await asyncio.wait_for(both, timeout=60)

    first, second = asyncio.run(main())
    assert (tokens(first), tokens(second)) == ([1, 2, 3, 4, 5], [8, 9, 10, 11, 12])


def test_an_abort_is_heard_while_a_step_waits(start: Start, tmp_path: Path) -> None:
    engine = start()

    async def main() -> list[Step]:
        asked = asyncio.create_task(collect(engine, PATIENT, 0, name="first"))
        while not (tmp_path / "waits").exists():
            await asyncio.sleep(0.01)
        engine.abort("first")
        return await asyncio.wait_for(asked, timeout=60)

    assert asyncio.run(main())[-1].finish_reason == "cancelled"
    until(lambda: engine.health().cache_used == 0)


def test_an_abort_ends_at_once_and_the_engine_forgets(start: Start) -> None:
    engine = start(seconds=0.01)

    async def main() -> list[Step]:
        asyncio.get_running_loop().call_later(0.1, engine.abort, "long")
        return await collect(engine, 1, 0, name="long", max_tokens=10**5)

    steps = asyncio.run(main())
    assert steps[-1].finish_reason == "cancelled"
    assert engine.health().cancelled == 1
    until(lambda: engine.health().cache_used == 0)
    made = engine.health().generated_tokens
    time.sleep(0.1)
    assert engine.health().generated_tokens == made


def test_who_leaves_early_frees_the_place(start: Start) -> None:
    engine = start(seconds=0.005)

    async def main() -> None:
        asking = Sampling(max_tokens=10**5)
        async with aclosing(engine.generate("one", (1, 0), asking)) as steps:  # type: ignore[type-var]
            async for step in steps:
                if step.ids[-1] > 5:
                    return

    asyncio.run(main())
    until(lambda: engine.health().cache_used == 0)
    assert (engine.health().active, engine.health().cancelled) == (0, 0)


def test_a_deadline_ends_a_request_and_frees_its_place(start: Start) -> None:
    engine = start(seconds=0.005)
    with pytest.raises(DeadlineExceeded, match="timeout expired"):
        asyncio.run(collect(engine, 1, 0, max_tokens=10**5, deadline=time.monotonic() + 0.1))
    until(lambda: engine.health().cache_used == 0)


def test_an_engine_that_cannot_load_says_why(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(EngineError, match="engine counting_engine did not load: ValueError: no weights here"):
        start()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (counting_engine.BROKEN, "RuntimeError: out of luck"),
        (
            counting_engine.KILLED,
            "the engine's process ended with SIGKILL; the server's log has its last words",
        ),
    ],
)
def test_an_engine_that_dies_fails_what_ran_and_is_started_again(
    start: Start, event: int, reason: str
) -> None:
    engine = start(seconds=0.01)

    async def main() -> list[Any]:
        asked = (collect(engine, 1, 0, max_tokens=10**5), collect(engine, event, 0))
        return await asyncio.gather(*asked, return_exceptions=True)

    for found in asyncio.run(main()):
        assert isinstance(found, EngineError) and str(found) == f"the engine has failed: {reason}"
    if engine.health().failure:
        with pytest.raises(Overloaded, match="is started again"):
            asyncio.run(collect(engine, 1, 0))
    until(lambda: engine.health().failure is None)
    assert tokens(asyncio.run(collect(engine, 1, 0))) == [1, 2, 3, 4, 5]


def test_closing_lets_requests_finish_and_frees_the_model(start: Start, tmp_path: Path) -> None:
    engine = start(seconds=0.005)

    async def main() -> list[Step]:
        task = asyncio.create_task(collect(engine, 1, 0, max_tokens=50))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.close)
        with pytest.raises(Overloaded, match="shutting down"):
            await collect(engine, 1, 0)
        return await task

    assert tokens(asyncio.run(main())) == list(range(1, 51))
    assert (tmp_path / "closed").exists()


def test_a_stuck_engine_is_killed_when_its_front_closes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SECONDS_TO_END", 0.3)
    before = set(children(os.getpid()))
    engine = start()
    started = set(children(os.getpid())) - before
    assert started

    async def main() -> None:
        deadline = time.monotonic() + 0.2
        with pytest.raises(DeadlineExceeded):
            await collect(engine, counting_engine.STUCK, 0, deadline=deadline)

    asyncio.run(main())
    engine.close()
    assert not any(alive(child) for child in started)


def test_an_engine_outlives_neither_a_killed_front(start: Start, tmp_path: Path) -> None:
    before = set(children(os.getpid()))
    engine = start()
    (child,) = set(children(os.getpid())) - before
    pair = engine._process
    # what the kernel does when a front is killed
    pair._socket.shutdown(2)
    until(lambda: not alive(child))
    assert (tmp_path / "closed").exists()
