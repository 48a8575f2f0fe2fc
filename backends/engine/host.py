"""The process of an engine: `python -m backends.engine.host ENGINE FOLDER SOCKET`.

Its interpreter does nothing but step the library. Orders are read and answers are written by threads of their
own, so that no step waits for a reader: what a front has not taken yet grows into fewer, longer answers.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from backends import turns
from backends.engine.orders import (
    FEW,
    MOST_UNHEARD,
    Abort,
    Add,
    Answer,
    Broken,
    Heard,
    Loaded,
    News,
    Order,
    Score,
)
from backends.engine.protocol import EngineError
from backends.engine.stepper import Gauges, Progress, Stepper, joined

SECONDS_TO_END = 20.0
"""How long the library may take to free its model once the front has gone."""


class Outbox:
    """Answers on their way; `put` never waits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = threading.Condition()
        self._waiting: list[Progress] = []
        self._gauges = Gauges()
        self._filled = self._ended = False
        self._unheard: deque[int] = deque()
        """Of how many sequences each piece of news told that the front has not passed on yet."""
        self._thread = threading.Thread(target=self._send_until_ended, name="answers", daemon=True)
        self._thread.start()

    def put(self, progress: Sequence[Progress], gauges: Gauges) -> None:
        """Add what a step brought."""
        with self._changed:
            self._waiting += progress
            self._gauges = gauges
            self._filled = True
            self._changed.notify()

    def heard(self) -> None:
        """Take note that the front has room for more."""
        with self._changed:
            self._unheard.popleft()
            self._changed.notify()

    def close(self) -> None:
        """Send what waits and end the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    @property
    def _may_send(self) -> bool:
        if not self._filled or not self._unheard:
            return self._filled
        return len(self._unheard) < MOST_UNHEARD and sum(self._unheard) + len(self._waiting) <= FEW

    def _send_until_ended(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._may_send or self._ended)
                if not self._filled:
                    return
                waiting, self._waiting = self._waiting, []
                gauges, self._filled = self._gauges, False
                self._unheard.append(len({progress.key for progress in waiting}))
            if not _sent(self._connection, News(tuple(joined(waiting)), gauges, len(waiting))):
                return


class Host:
    """Steps the library while it has sequences; an order wakes a step that waits.

    A sequence that the library hears of only after a step is too late for the one that begins then.
    """

    def __init__(self, stepper: Stepper, connection: Connection) -> None:
        self._stepper = stepper
        self._outbox = Outbox(connection)
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._steps = False
        self._reader = threading.Thread(target=self._read, args=(connection,), name="orders", daemon=True)
        self._reader.start()

    def run(self) -> None:
        """Serve until the front has gone; raise what the library ends in."""
        while True:
            for order in self._next_orders():
                if order is None:
                    return
                self._follow(order)
            progress = self._step() if self._stepper.busy else ()
            if progress or not self._stepper.busy:
                self._outbox.put(progress, self._stepper.gauges())

    def close(self) -> None:
        """Send what waits."""
        self._outbox.close()

    def _next_orders(self) -> Iterator[Order | None]:
        """Yield what has come; wait for an order when there is nothing else to do."""
        if not self._stepper.busy:
            yield self._orders.get()
        while not self._orders.empty():
            yield self._orders.get()

    def _step(self) -> Sequence[Progress]:
        # first the word, then the look: an order that comes between them wakes the step for nothing,
        # the other way round it would wait for its end
        self._steps = True
        progress = self._stepper.step() if self._orders.empty() else ()
        self._steps = False
        return progress

    def _follow(self, order: Order) -> None:
        match order:
            case Abort(keys):
                self._stepper.abort(keys)
            case Add(key) | Score(key):
                try:
                    self._take(order)
                except Exception as error:
                    # what the library cannot take is this request's error, not its neighbours'
                    self._outbox.put([Progress(key, failure=_told(error))], self._stepper.gauges())

    def _take(self, order: Add | Score) -> None:
        if isinstance(order, Add):
            self._stepper.add(order.key, order.ids, order.sampling)
        else:
            self._stepper.score(order.key, order.ids)

    def _read(self, connection: Connection) -> None:
        try:
            while True:
                self._hear(connection.recv())
        except (EOFError, OSError):
            self._orders.put(None)
            # a step that never returns must not outlive the front
            timer = threading.Timer(SECONDS_TO_END, os._exit, args=(1,))
            timer.daemon = True
            timer.start()

    def _hear(self, order: Order) -> None:
        if isinstance(order, Heard):
            # the next answer must not wait for the step that runs
            self._outbox.heard()
            return
        self._orders.put(order)
        if self._steps:
            # once is enough for all that come before it returns
            self._steps = False
            self._stepper.wake()


def _told(error: Exception) -> tuple[str, str]:
    if isinstance(error, EngineError):
        return type(error).__name__, str(error)
    return EngineError.__name__, f"the engine refused this request: {error}"


def _sent(connection: Connection, answer: Answer) -> bool:
    try:
        connection.send(answer)
    except OSError:
        return False
    return True


def main(engine: str, folder: Path, connection: Connection) -> int:
    """Load the engine of a version folder and serve its front; return the exit code."""
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        stepper: Stepper = importlib.import_module(f"backends.engine.{engine}").stepper(settings, folder)
        # not before: what the library forks would have it, too, and be kept from its steps
        turns.shorten()
        # what was loaded stays: looking through it for garbage would hold a step up
        gc.collect()
        gc.freeze()
        connection.send(Loaded())
        with closing(Host(stepper, connection)) as host:
            host.run()
    except BaseException as error:
        _sent(connection, Broken(f"{type(error).__name__}: {error}"))
        raise
    stepper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Connection(int(sys.argv[3]))))
