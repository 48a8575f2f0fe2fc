"""Many requests on one thread, taking turns: admission, waiting line, deadlines, cancels, failures.

For engines whose library runs one sequence at a time; it knows nothing of any library.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque

from backends.engine.mailbox import Mailbox
from backends.engine.protocol import (
    DeadlineExceeded,
    EngineError,
    Health,
    InvalidRequest,
    Overloaded,
    Step,
)


class Task(ABC):
    """One request: what a turn does, and why it may have to end before it is done."""

    def __init__(self, name: str, mail: Mailbox, deadline: float | None = None) -> None:
        self.name = name
        self.mail = mail
        self.deadline = deadline
        self.aborted = False
        self.gone = False
        """The reader has left: nothing that comes is read."""

    @abstractmethod
    def advance(self) -> tuple[int, bool]:
        """Run one turn; return the number of tokens generated in it and whether the request is done.

        A done request has put a step with a finish reason into its mail.
        """

    @abstractmethod
    def free(self) -> None:
        """Give back what the request holds of the model."""

    def ending(self) -> Step | EngineError | None:
        """Return what to tell the reader when the request must not go on, None while it may."""
        if self.aborted or self.gone:
            return Step((), finish_reason="cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            return DeadlineExceeded("Request timeout expired: the request did not finish in its time")
        return None


class TurnTaker:
    """Runs up to `max_active` tasks in turn and keeps `max_waiting` more in line, first come first served."""

    def __init__(self, max_active: int, max_waiting: int) -> None:
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._active: list[Task] = []
        self._waiting: deque[Task] = deque()
        self._named: dict[str, Task] = {}
        self._steps = self._generated = self._cancelled = 0
        self._failure: str | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def admit(self, task: Task) -> None:
        """Put a task in line; raises Overloaded, or EngineError when the thread has died."""
        with self._changed:
            if self._failure is not None:
                raise EngineError(self._failure)
            if self._closing:
                raise Overloaded("the model is being unloaded and takes no new requests")
            if len(self._active) + len(self._waiting) >= self._max_active + self._max_waiting:
                raise Overloaded(
                    f"Exceeds maximum queue size: {len(self._active)} requests run and "
                    f"{len(self._waiting)} wait, at most {self._max_waiting} may wait; try again later"
                )
            if task.name in self._named:
                raise InvalidRequest(f"request name {task.name!r} is in use")
            self._named[task.name] = task
            self._waiting.append(task)
            self._changed.notify()

    def abort(self, name: str) -> None:
        """End a task before its next turn; unknown names are ignored."""
        with self._changed:
            if name in self._named:
                self._named[name].aborted = True

    def health(self) -> Health:
        """Return the counters; a step is one turn of one task."""
        with self._changed:
            return Health(
                active=len(self._active),
                waiting=len(self._waiting),
                steps=self._steps,
                generated_tokens=self._generated,
                cancelled=self._cancelled,
                failure=self._failure,
            )

    def close(self) -> None:
        """Admit nothing more and return when everything in line has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._next_round():
                for task in tuple(self._active):
                    self._turn(task)
        except BaseException as error:
            self._fail(f"the engine stopped: {type(error).__name__}: {error}")

    def _next_round(self) -> bool:
        with self._changed:
            while not self._active and not self._waiting:
                if self._closing:
                    return False
                self._changed.wait()
            for task in [*self._waiting]:
                if (ending := task.ending()) is not None:
                    self._waiting.remove(task)
                    self._end(task, ending)
            while self._waiting and len(self._active) < self._max_active:
                self._active.append(self._waiting.popleft())
            return True

    def _turn(self, task: Task) -> None:
        """Advance one task; what goes wrong in it fails this task alone."""
        ending, done, generated = task.ending(), False, 0
        if ending is None:
            try:
                generated, done = task.advance()
            except EngineError as error:
                ending = error
            except Exception as error:
                ending = EngineError(f"{type(error).__name__}: {error}")
            with self._changed:
                self._steps += 1
                self._generated += generated
        if done or ending is not None:
            with self._changed:
                self._active.remove(task)
                self._end(task, ending)

    def _end(self, task: Task, ending: Step | EngineError | None) -> None:
        # A reader that left on its own accord, say at a stop string, has not cancelled anything.
        self._cancelled += task.aborted and isinstance(ending, Step)
        del self._named[task.name]
        task.free()
        if ending is not None:
            task.mail.put(ending)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._failure = reason
            tasks = [*self._named.values()]
            self._active.clear()
            self._waiting.clear()
            self._named.clear()
        for task in tasks:
            task.mail.put(EngineError(reason))
