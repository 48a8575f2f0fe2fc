"""The thread that keeps the books of one worker, so that its event loop never waits for a disk.

What has come while it wrote is written together, in one transaction: the busier, the fewer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from builder.errors import KeysError
from builder.gateway.keys import database as databases
from builder.gateway.keys import ledger, secret
from builder.gateway.keys.key import Key, Reason, Refused, Standing
from builder.gateway.keys.ledger import Entry

MOST = 256
"""Requests that share a transaction."""
WRONG = "the API key is not right"
TRIES = 2
"""To write what was taken: a connection to PostgreSQL may have been lost meanwhile."""
SECONDS = 1.0
"""After which wrong keys are counted in the database, all at once: guessing must not keep the disk busy."""
MISSING = "an API key is needed: send the header Authorization: Bearer KEY"


@dataclass(frozen=True)
class Admission:
    """A request that was let in."""

    key: Key
    standing: Standing


@dataclass(frozen=True)
class _Ask:
    text: str
    counts: bool
    result: asyncio.Future[Admission]


@dataclass(frozen=True)
class _Note:
    key: Key
    entry: Entry
    result: asyncio.Future[None]


@dataclass(frozen=True)
class _Count:
    wrong: int


Clock = Callable[[], int]
_Answer = tuple[asyncio.Future[Any], Any]
"""What is to be told to whom: a value or an exception."""


def clock() -> int:
    """Return the time in microseconds since 1970, the same in all workers of a machine."""
    return time.time_ns() // 1000


class Clerk:
    """Lets requests in and writes down what they took; its methods are for one event loop."""

    def __init__(self, url: str, now: Clock = clock) -> None:
        self._url = url
        self._now = now
        self._work: queue.SimpleQueue[_Ask | _Note | _Count | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self._wrong = 0

    async def start(self) -> None:
        """Begin. Raises KeysError where the database cannot be had."""
        self._loop = asyncio.get_running_loop()
        self._database = await asyncio.to_thread(databases.connect, self._url)
        self._thread.start()

    async def close(self) -> None:
        """End when everything that was asked has been written."""
        self._count()
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)

    async def let_in(self, text: str, *, counts: bool) -> Admission:
        """Let a request with a key in; one that `counts` is taken off the key's limits.

        Raises Refused, and KeysError when the database cannot be had.
        """
        try:
            if secret.number(text) is None:
                raise Refused(Reason.WRONG_KEY if text else Reason.NO_KEY, WRONG if text else MISSING)
            ask = _Ask(text, counts, self._loop.create_future())
            self._work.put(ask)
            return await ask.result
        except Refused as refused:
            if refused.reason is Reason.WRONG_KEY:
                self._note_wrong()
            raise

    async def write(self, key: Key, entry: Entry) -> None:
        """Return when an entry is on the disk; once called it is written even if nobody waits any more.

        Raises KeysError.
        """
        note = _Note(key, entry, self._loop.create_future())
        self._work.put(note)
        await asyncio.shield(note.result)

    def _note_wrong(self) -> None:
        if not self._wrong:
            self._loop.call_later(SECONDS, self._count)
        self._wrong += 1

    def _count(self) -> None:
        if self._wrong:
            self._work.put(_Count(self._wrong))
        self._wrong = 0

    def _run(self) -> None:
        """Do what was asked until None is; the thread's whole life."""
        is_last = False
        while not is_last:
            batch = [self._work.get()]
            while len(batch) < MOST and batch[-1] is not None and not self._work.empty():
                batch.append(self._work.get())
            is_last = batch[-1] is None
            try:
                self._do(batch)
            except Exception as error:
                # whoever asked would wait for ever if this thread ended
                failed = KeysError(f"the books could not be kept: {error}")
                self._tell([(one.result, failed) for one in batch if isinstance(one, (_Ask, _Note))])
        self._database.close()

    def _do(self, batch: Sequence[_Ask | _Note | _Count | None]) -> None:
        # who waits to be let in does not wait for the disk as well
        self._tell(self._admit([one for one in batch if isinstance(one, _Ask)]))
        self._tell(self._write([one for one in batch if isinstance(one, _Note)]))
        self._write_wrong(sum(one.wrong for one in batch if isinstance(one, _Count)))

    def _admit(self, asks: Sequence[_Ask]) -> list[_Answer]:
        answers: list[_Answer] = []
        limited: list[tuple[_Ask, Key]] = []
        for ask in asks:
            try:
                key = self._known(ask.text)
                if ask.counts and key.is_limited:
                    limited.append((ask, key))
                else:
                    answers.append((ask.result, Admission(key, Standing())))
            except (Refused, KeysError) as error:
                answers.append((ask.result, error))
        return answers + self._admit_limited(limited)

    def _known(self, text: str) -> Key:
        """Return the key that has this text. Raises Refused."""
        found = ledger.find(self._database, secret.number(text) or "")
        if not secret.is_it(text, found[1] if found else None) or found is None:
            raise Refused(Reason.WRONG_KEY, WRONG)
        state = found[0].state(self._now())
        if state != "active":
            raise Refused(Reason.ENDED, f"this API key is {state}")
        return found[0]

    def _admit_limited(self, asks: Sequence[tuple[_Ask, Key]]) -> list[_Answer]:
        if not asks:
            return []
        answers: list[_Answer] = []
        try:
            with self._database.writing(durably=False):
                for ask, key in asks:
                    try:
                        standing = ledger.let_in(self._database, key, self._now())
                        answers.append((ask.result, Admission(key, standing)))
                    except Refused as refused:
                        answers.append((ask.result, refused))
        except KeysError as error:
            return [(ask.result, error) for ask, _ in asks]
        return answers

    def _write(self, notes: Sequence[_Note]) -> list[_Answer]:
        if not notes:
            return []
        for left in reversed(range(TRIES)):
            try:
                with self._database.writing(durably=True):
                    for note in notes:
                        ledger.record(self._database, note.key, note.entry)
                return [(note.result, None) for note in notes]
            except KeysError as error:
                if not left:
                    return [(note.result, error) for note in notes]
        raise AssertionError("TRIES is above 0")

    def _write_wrong(self, count: int) -> None:
        if count:
            with suppress(KeysError), self._database.writing(durably=False):
                ledger.refuse(self._database, count, self._now())

    def _tell(self, answers: Sequence[_Answer]) -> None:
        if answers:
            self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[_Answer]) -> None:
    for future, told in answers:
        if future.done():
            continue
        if isinstance(told, Exception):
            future.set_exception(told)
        else:
            future.set_result(told)
