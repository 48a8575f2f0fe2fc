"""Where keys and accounts are kept: SQLite's own library, or PostgreSQL by psycopg, behind one small seam.

Both understand the same few statements, so SQLAlchemy would bring only its weight. A transaction that writes
holds the one lock of the database, in PostgreSQL an advisory one: a decision sees all that were made before,
whichever process made them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from builder.errors import KeysError

Row = Sequence[Any]
PATIENCE = 10.0
"""Seconds to wait for other processes to have written."""
_LOCK = 0x6B657973
"""The number of the advisory lock: "keys"."""

# moments, durations and money are whole numbers of 64 bits
_TABLES = (
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, digest TEXT NOT NULL, name TEXT NOT NULL, models TEXT,
        requests_per_minute BIGINT, tokens_per_minute BIGINT, monthly_budget BIGINT,
        created BIGINT NOT NULL, expires BIGINT, revoked BIGINT)""",
    """CREATE TABLE IF NOT EXISTS levels (
        key TEXT PRIMARY KEY, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, at BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS months (
        key TEXT NOT NULL, month TEXT NOT NULL, cost BIGINT NOT NULL, PRIMARY KEY (key, month))""",
    """CREATE TABLE IF NOT EXISTS requests (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, prompt_tokens BIGINT NOT NULL,
        completion_tokens BIGINT NOT NULL, cost BIGINT NOT NULL, status BIGINT NOT NULL,
        at BIGINT NOT NULL, duration BIGINT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS requests_at ON requests (at)",
    "CREATE TABLE IF NOT EXISTS refusals (day TEXT PRIMARY KEY, count BIGINT NOT NULL)",
)


class Database(Protocol):
    """One connection, for one thread at a time. What fails raises KeysError."""

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Return what a statement finds; `?` stands for the values."""
        ...

    def change(self, statement: str, values: Row = ()) -> int:
        """Return how many rows a statement changed."""
        ...

    @contextmanager
    def writing(self, *, durably: bool) -> Iterator[None]:
        """Make the block one transaction; what is not durable outlives this process but not a power cut."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


def connect(url: str, *, creating: bool = False) -> Database:
    """Return a connection to sqlite:///PATH, to a bare path, or to postgresql://...

    Args:
        creating: make a database of SQLite that does not exist.

    Raises KeysError.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return PostgreSQL(url)
    scheme, _, rest = url.rpartition("://")
    if scheme not in ("", "sqlite") or (scheme and not rest.startswith("/")) or not rest.strip("/"):
        expected = "sqlite:///PATH, a path, or postgresql://USER@HOST/DATABASE"
        raise KeysError(f"{scheme or url}: no database of keys is kept there", expected=expected)
    path = Path(rest[1:] if scheme else rest)
    if not creating and not path.exists():
        raise KeysError(f"{path} does not exist", remedy=f"builder keys create NAME --keys {path}")
    return SQLite(path)


def prepare(database: Database) -> None:
    """Make the tables where they are not; where they are, whoever may use them need not own them."""
    try:
        # the last to be made
        database.rows("SELECT count FROM refusals LIMIT 0")
    except KeysError:
        with database.writing(durably=True):
            for statement in _TABLES:
                database.change(statement)


class SQLite:
    """A file of SQLite in WAL mode: one process writes at a time, reading waits for nobody."""

    def __init__(self, path: Path) -> None:
        with self._translated():
            # nobody else is to read it; the files that stand beside it get the same mode
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Return what a statement finds."""
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: Row = ()) -> int:
        """Return how many rows a statement changed."""
        with self._translated():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def writing(self, *, durably: bool) -> Iterator[None]:
        """Make the block one transaction; a durable one waits for the disk."""
        self.change(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
        self.change("BEGIN IMMEDIATE")
        try:
            yield
            self.change("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.change("ROLLBACK")
            raise

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise KeysError(f"the database of keys: {error}") from error


class PostgreSQL:
    """A database of PostgreSQL; a connection that was lost is made again when it is next needed."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ModuleNotFoundError as error:
            remedy = 'pip install "builder[postgresql]"'
            raise KeysError("psycopg is not installed, which PostgreSQL needs", remedy=remedy) from error
        self._library: Any = psycopg
        self._url = url
        self._connection: Any = None
        self._writes = False
        self._connect()

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Return what a statement finds; outside of a transaction it is asked again when it was lost."""
        try:
            return self._found(statement, values)
        except KeysError:
            if self._writes or not self._connection.closed:
                raise
            self._connect()
            return self._found(statement, values)

    def change(self, statement: str, values: Row = ()) -> int:
        """Return how many rows a statement changed."""
        return int(self._execute(statement, values).rowcount)

    @contextmanager
    def writing(self, *, durably: bool) -> Iterator[None]:
        """Make the block one transaction; a durable one waits for the server's disk."""
        self._connect()
        self._writes = True
        try:
            with self._translated(), self._connection.transaction():
                self.change(f"SET LOCAL synchronous_commit TO {'ON' if durably else 'OFF'}")
                self.change("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                yield
        finally:
            self._writes = False

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _found(self, statement: str, values: Row) -> list[Row]:
        found: list[Row] = self._execute(statement, values).fetchall()
        return found

    def _execute(self, statement: str, values: Row) -> Any:
        with self._translated():
            return self._connection.execute(statement.replace("?", "%s"), values)

    def _connect(self) -> None:
        if self._connection is not None and not self._connection.closed:
            return
        with self._translated():
            self._connection = self._library.connect(
                self._url, autocommit=True, connect_timeout=int(PATIENCE), prepare_threshold=None
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._library.Error as error:
            # its texts may hold the address, never the password
            raise KeysError(f"the database of keys: {error}") from error
