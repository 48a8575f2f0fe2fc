"""Routes in force, look by look: files that change, workers that share what they know."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builder.errors import UsageError
from builder.gateway.routing.live import Routing
from builder.gateway.routing.route import Route

GOOD = '[routes.chat]\nto = "old"\n'
CANARY = '[routes.chat]\nto = "old"\ncanary = { model = "new", share = 100, min_answers = 10 }\n'


class Workers:
    """Some of one gateway, that look when they are told to."""

    def __init__(self, folder: Path, text: str, count: int = 2, *, shared: bool = True) -> None:
        self.path = folder / "routes.toml"
        self.path.write_text(text)
        self.returns: list[tuple[str, str]] = []
        self.all = [self.made(folder / "shared" if shared else None) for _ in range(count)]

    def made(self, shared: Path | None) -> Routing:
        return Routing(self.path, shared, lambda route, model: self.returns.append((route, model)))

    async def look(self, times: int = 1, serves: Callable[[str], object] = lambda name: False) -> None:
        for _ in range(times):
            for worker in self.all:
                await worker.look(serves)

    def led(self) -> list[str]:
        """Return who is asked first, worker by worker."""
        return [worker.way(route(worker), "user").ahead[0] for worker in self.all]

    def well(self) -> list[bool]:
        return [worker.state.read_well for worker in self.all]


def route(worker: Routing, name: str = "chat") -> Route:
    found = worker.route(name)
    assert found is not None
    return found


def run(workers: Workers, story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        for worker in workers.all:
            await worker.start()
        await story()
        for worker in workers.all:
            await worker.close()

    asyncio.run(told())


def hear(worker: Routing, count: int, seconds: float | None) -> None:
    for _ in range(count):
        way = worker.way(route(worker), "user")
        way.go(way.ahead[0], ())
        worker.hear(way, "whole", seconds)


def test_what_is_seen_once_is_not_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, GOOD)

    async def story() -> None:
        # as editors write: empty first, then half, then all
        for half in ("", GOOD[:8], GOOD.replace("old", "new")):
            workers.path.write_text(half)
            await workers.look()
            assert (workers.led(), workers.well()) == (["old"] * 2, [True] * 2)
        await workers.look()
        assert workers.led() == ["new"] * 2
        workers.path.unlink()
        await workers.look()
        workers.path.write_text(GOOD)
        await workers.look()
        assert (workers.led(), workers.well()) == (["new"] * 2, [True] * 2)
        await workers.look()
        assert workers.led() == ["old"] * 2

    run(workers, story)
    assert caplog.messages == []


def test_a_broken_file_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, GOOD)

    async def story() -> None:
        for _ in range(2):
            workers.path.write_text("[routes.chat]\nsplit = { x = -1 }\n")
            await workers.look(3)
            assert (workers.led(), workers.well()) == (["old"] * 2, [False] * 2)
            workers.path.write_text(GOOD)
            await workers.look(3)
            assert (workers.led(), workers.well()) == (["old"] * 2, [True] * 2)

    run(workers, story)
    # once each time that it broke
    said = f"{workers.path}: routes.chat.split.x is -1; expected: a number of 0 to 1,000,000,000"
    assert caplog.messages == [f"the routes stay as they were: {said}"] * 2


def test_a_worker_that_comes_later(tmp_path: Path) -> None:
    workers = Workers(tmp_path, GOOD, 1)

    async def story() -> None:
        workers.path.write_text("[routes")
        late = workers.made(tmp_path / "shared")
        await late.start()
        workers.all.append(late)
        assert (workers.led(), late.state.read_well) == (["old"] * 2, False)
        workers.path.write_text(GOOD.replace("old", "new"))
        await workers.look(2)
        assert (workers.led(), workers.well()) == (["new"] * 2, [True] * 2)
        alone = workers.made(None)
        workers.path.write_text("[routes")
        with pytest.raises(UsageError, match="is not valid TOML"):
            await alone.start()
        await alone.close()

    run(workers, story)


def test_workers_judge_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, CANARY)
    first, second = workers.all

    async def story() -> None:
        # neither has seen enough by itself
        hear(first, 19, 0.1)
        hear(first, 1, None)
        await workers.look()
        assert workers.led() == ["new"] * 2
        hear(second, 1, None)
        await workers.look(2)
        assert workers.led() == ["old"] * 2
        assert [worker.canaries() for worker in workers.all] == [[(route(first), False)]] * 2
        # another route's change does not bring it back, nor do its own good answers before
        workers.path.write_text(f'{CANARY}[routes.more]\nto = "x"\n')
        await workers.look(3)
        assert workers.led() == ["old"] * 2
        # its own does
        workers.path.write_text(CANARY.replace("100", "99.99"))
        await workers.look(3)
        assert first.canaries() == [(route(first), True)]
        # and so does taking it out and putting it back
        for text in (GOOD, CANARY):
            workers.path.write_text(text)
            await workers.look(3)
        assert workers.led() == ["new"] * 2

    run(workers, story)
    assert workers.returns == [("chat", "new")]
    (said,) = caplog.messages
    assert said.startswith("route 'chat': the canary 'new' is taken back") and "2 of its 21 answers" in said


def test_a_route_that_hides_a_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(
        tmp_path, f'{GOOD}[routes.old]\nto = "old"\nfallback = ["x"]\n'.replace('"old"', '"x"', 1)
    )

    async def story() -> None:
        await workers.look(2, {"chat", "old"}.__contains__)

    run(workers, story)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "route 'chat' hides the model" in caplog.text


def test_a_share_that_fails_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the workers share may be on a disk that is full."""
    workers = Workers(tmp_path, CANARY, 1)

    async def story() -> None:
        (worker,) = workers.all
        with sqlite3.connect(tmp_path / "shared") as broken:
            broken.execute("DROP TABLE answers")
        for _ in range(2):
            hear(worker, 1, 0.1)
            await workers.look()
        assert workers.led() == ["new"]

    run(workers, story)
    (said,) = caplog.messages
    assert "what the workers share fails: no such table: answers" in said


def test_no_file_no_routes(tmp_path: Path) -> None:
    async def story() -> None:
        routing = Routing(None)
        await routing.start()
        await asyncio.wait_for(routing.watch(lambda name: True), 5)
        assert routing.route("x") is None and not routing.is_on
        await routing.close()

    asyncio.run(story())
