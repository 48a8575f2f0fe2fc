"""The routes that are in force, in one worker: read again every second, with the canaries that may stay."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from builder.errors import UsageError
from builder.gateway.routing import judging, reading
from builder.gateway.routing.reading import Routes
from builder.gateway.routing.route import Route
from builder.gateway.routing.trials import FAILED, FILE, Answer, Trials
from builder.gateway.routing.way import Way

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
SECONDS = 0.5
"""Between two looks at file and canaries; what is new in the file counts once it was seen twice."""


@dataclass(frozen=True)
class State:
    """What was found at the last look.

    Args:
        taken_back: trials whose canaries take no more users.
        read_well: whether the file as it was then is in force; else older routes are.
        read_at: seconds since 1970 at which a file was last taken.
    """

    routes: Routes
    taken_back: frozenset[str] = frozenset()
    read_well: bool = True
    read_at: float = 0.0


class Routing:
    """Leads names to models; its methods are for one event loop, files are seen to by a thread."""

    def __init__(
        self,
        path: Path | None,
        shared: Path | None = None,
        taken_back: Callable[[str, str], object] = lambda route, model: None,
    ) -> None:
        """Lead nothing until `start`.

        Args:
            path: of the file of routes, None for none.
            shared: a file that all workers have for their figures, None for one worker.
            taken_back: is told, by one of the workers, of a canary's route and model.
        """
        self._path = path
        self._shared = shared
        self._trials: Trials | None = None
        self._text = ""
        self._seen = ("", "")
        self._is_failing = False
        self._thread = ThreadPoolExecutor(1, "routes")
        self._heard: Counter[Answer] = Counter()
        self._taken_back = taken_back
        self.state = State({})

    async def start(self) -> None:
        """Read the file. Raises UsageError where neither it nor one that was taken before can be used."""
        if self._path is not None:
            self.state = await self._in_thread(self._begin, self._path)

    async def watch(self, serves: Callable[[str], object]) -> None:
        """Look again and again, for ever; `serves` says whether there is a model of a name."""
        while self.is_on:
            await asyncio.sleep(SECONDS)
            await self.look(serves)

    async def look(self, serves: Callable[[str], object]) -> None:
        """Look at file and canaries once; `start` must have been called."""
        assert self._path is not None and self._trials is not None
        heard, self._heard = self._heard, Counter()
        routes = self.state.routes
        hidden = [name for name, route in routes.items() if name not in route.models and serves(name)]
        try:
            self.state = await self._in_thread(self._look, self._path, self._trials, heard)
            await self._in_thread(_warn, self._trials, hidden)
            self._is_failing = False
        except sqlite3.Error as error:
            if not self._is_failing:
                _LOG.error("%s is not looked at: what the workers share fails: %s", self._path, error)
            self._is_failing = True

    async def close(self) -> None:
        """Let the files go, when what the thread does now is done."""
        if self._trials is not None:
            await self._in_thread(self._trials.close)
        self._thread.shutdown()

    @property
    def is_on(self) -> bool:
        """Say whether there is a file of routes."""
        return self._path is not None

    def route(self, name: str) -> Route | None:
        """Return where a name leads, None for one that leads nowhere."""
        return self.state.routes.get(name)

    def way(self, route: Route, user: str) -> Way:
        """Return the models to ask for a user, a random one for ""."""
        with_canary = not self._is_taken_back(route)
        return Way(route, route.order(user or os.urandom(8).hex(), with_canary=with_canary))

    def canaries(self) -> list[tuple[Route, bool]]:
        """Return the routes that have a canary, and whether it takes its share."""
        unique = {route.name: route for route in self.state.routes.values() if route.canary}
        return [(route, not self._is_taken_back(route)) for route in unique.values()]

    def hear(self, way: Way, kind: str, seconds: float | None) -> None:
        """Take note of how long the model that was asked took to answer; None for one that failed."""
        route = way.route
        if route.canary is None or way.model not in (route.stable, route.canary.model):
            return
        bucket = FAILED if seconds is None else judging.bucket(seconds)
        self._heard[Answer(route.trial, way.model == route.canary.model, kind, bucket)] += 1

    async def _in_thread(self, work: Callable[..., Result], *given: Any) -> Result:
        # one thread, and so one thing at a time
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    def _is_taken_back(self, route: Route) -> bool:
        return route.trial in self.state.taken_back

    def _begin(self, path: Path) -> State:
        self._trials = Trials(":memory:" if self._shared is None else str(self._shared))
        try:
            text = reading.read(path)
            return self._take(path, self._trials, text, reading.parse(text, path))
        except UsageError as error:
            # a worker that comes later than the others goes on as they do
            good = self._trials.good()
            if good is None:
                raise
            self._refuse(self._trials, error)
            return State(reading.parse(good, path), self._trials.taken_back(), False, 0.0)

    def _look(self, path: Path, trials: Trials, heard: Counter[Answer]) -> State:
        state = self._renewed(path, trials)
        now = int(time.monotonic())
        if heard:
            trials.add(heard, now)
        for route in {route.name: route for route in state.routes.values()}.values():
            if route.canary and route.trial not in state.taken_back:
                self._judge(route, trials, now)
        return State(state.routes, trials.taken_back(), state.read_well, state.read_at)

    def _renewed(self, path: Path, trials: Trials) -> State:
        """Return the state with what the file says now, or without it where that cannot be used."""
        state = self.state
        try:
            text, failed = reading.read(path), None
        except UsageError as error:
            text, failed = "", error
        seen, self._seen = self._seen, (text, str(failed))
        is_known = text == self._text and failed is None and state.read_well
        if is_known or self._seen != seen:
            # what is seen for the first time may be half of what is being written
            return state
        try:
            if failed is not None:
                raise failed
            return self._take(path, trials, text, reading.parse(text, path))
        except UsageError as error:
            self._refuse(trials, error)
            return State(state.routes, state.taken_back, False, state.read_at)

    def _take(self, path: Path, trials: Trials, text: str, routes: Routes) -> State:
        self._text = text
        trials.keep_good(text)
        trials.keep({route.trial for route in routes.values() if route.canary})
        return State(routes, trials.taken_back(), True, time.time())

    def _refuse(self, trials: Trials, error: UsageError) -> None:
        said = error.sentence().replace("\n", "; ")
        if trials.say_once(FILE, said):
            _LOG.error("the routes stay as they were: %s", said)

    def _judge(self, route: Route, trials: Trials, now: int) -> None:
        assert route.canary is not None
        canary, stable = trials.tallies(route.trial, now - route.canary.window)
        why = judging.worse(route.canary, canary, stable)
        if why is not None and trials.take_back(route.trial):
            self._taken_back(route.name, route.canary.model)
            told = (route.name, route.canary.model, route.stable, why)
            _LOG.warning(
                "route %r: the canary %r is taken back, %r answers all until the route is changed: %s", *told
            )


def _warn(trials: Trials, hidden: Sequence[str]) -> None:
    for name in hidden:
        if trials.say_once("hidden", name):
            _LOG.warning(
                "route %r hides the model of this name: whoever asks for it is led to another one", name
            )
