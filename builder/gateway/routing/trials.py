"""What the workers know together: how canaries answer, which were taken back, the last good routes.

SQLite's own library, in a file beside the workers' other figures or, for one worker, in memory. Everything is
sums and first times, so that no worker must be asked or followed. Losing it loses a window of figures:
nothing waits for the disk.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from builder.gateway.routing.judging import Tally

PATIENCE = 5.0
"""Seconds to wait for other workers to have written."""
FAILED = -(2**31)
"""In the place of the bucket of a latency: the answer was none."""

FILE = "file"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS answers (
        trial TEXT, is_canary INTEGER, second INTEGER, kind TEXT, bucket INTEGER, count INTEGER,
        PRIMARY KEY (trial, is_canary, second, kind, bucket)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS taken_back (trial TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS said (about TEXT, what TEXT, PRIMARY KEY (about, what))",
    "CREATE TABLE IF NOT EXISTS good (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT)",
)


class Answer(NamedTuple):
    """Answers that are alike: of which trial's canary or stable model, of which kind, how long they took."""

    trial: str
    is_canary: bool
    kind: str
    bucket: int


class Trials:
    """One worker's connection; for one thread at a time. All raise sqlite3.Error."""

    def __init__(self, path: str = ":memory:") -> None:
        self._connection = sqlite3.connect(
            path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        for statement in ("PRAGMA synchronous = OFF", *_TABLES):
            self._connection.execute(statement)

    def add(self, answers: Mapping[Answer, int], second: int) -> None:
        """Add answers that came in a second."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [
                    (one.trial, one.is_canary, second, one.kind, one.bucket, count)
                    for one, count in answers.items()
                ],
            )

    def tallies(self, trial: str, since: int) -> tuple[Tally, Tally]:
        """Return what a canary and its stable model answered, and forget what was before a second."""
        self._connection.execute("DELETE FROM answers WHERE trial = ? AND second < ?", (trial, since))
        found = (Tally(), Tally())
        rows = self._connection.execute(
            "SELECT is_canary, kind, bucket, sum(count) FROM answers WHERE trial = ?"
            " GROUP BY is_canary, kind, bucket",
            (trial,),
        )
        for is_canary, kind, bucket, count in rows:
            tally = found[0 if is_canary else 1]
            tally.answers += count
            if bucket == FAILED:
                tally.failures += count
            else:
                tally.latencies.setdefault(kind, Counter())[bucket] += count
        return found

    def take_back(self, trial: str) -> bool:
        """Take a canary back; say whether this worker was the first to do so."""
        done = self._connection.execute("INSERT OR IGNORE INTO taken_back VALUES (?)", (trial,))
        return bool(done.rowcount)

    def taken_back(self) -> frozenset[str]:
        """Return the trials whose canaries were taken back."""
        return frozenset(trial for (trial,) in self._connection.execute("SELECT trial FROM taken_back"))

    def keep(self, trials: Collection[str]) -> None:
        """Forget all other trials: what returns to the file is tried anew."""
        marks = ", ".join("?" * len(trials))
        for table in ("answers", "taken_back"):
            self._connection.execute(f"DELETE FROM {table} WHERE trial NOT IN ({marks})", tuple(trials))

    def say_once(self, about: str, what: str) -> bool:
        """Say whether no worker has said this yet; `about` is FILE for what a better file makes good."""
        done = self._connection.execute("INSERT OR IGNORE INTO said VALUES (?, ?)", (about, what))
        return bool(done.rowcount)

    def keep_good(self, text: str) -> None:
        """Keep a file of routes that was taken; what was said of worse ones may be said again."""
        self._connection.execute("INSERT OR REPLACE INTO good VALUES (1, ?)", (text,))
        self._connection.execute("DELETE FROM said WHERE about = ?", (FILE,))

    def good(self) -> str | None:
        """Return the last file of routes that was taken, by whichever worker."""
        row = self._connection.execute("SELECT text FROM good").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()
