"""Keys and accounts in real databases: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gateway_process import ROOT

from builder.errors import KeysError
from builder.gateway.keys import clerk, database, ledger, secret, times
from builder.gateway.keys.clerk import Clerk
from builder.gateway.keys.database import Database
from builder.gateway.keys.key import Key, Reason, Refused, Terms
from builder.gateway.keys.ledger import Entry

NOW = times.of(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database with its tables."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path / 'keys.db'}"
    else:
        made = request.getfixturevalue("postgres")
        import psycopg

        with psycopg.connect(made, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    with closing(database.connect(made, creating=True)) as opened:
        database.prepare(opened)
        database.prepare(opened)
    return made


@pytest.fixture
def opened(url: str) -> Iterator[Database]:
    with closing(database.connect(url)) as made:
        yield made


def entry(key: Key, **fields: object) -> Entry:
    common = Entry(os.urandom(8).hex(), key.id, "m", 10, 5, 30, 200, NOW, 1000)
    return replace(common, **fields)  # type: ignore[arg-type]


def record(opened: Database, key: Key, *entries: Entry) -> None:
    with opened.writing(durably=True):
        for one in entries:
            ledger.record(opened, key, one)


def test_a_key_is_kept_with_its_terms_and_without_its_text(opened: Database, url: str) -> None:
    terms = Terms(frozenset(["a", "b"]), 10, 1000, 5_000_000, NOW + 1)
    made, text = ledger.create(opened, "alice", terms, NOW)
    found = ledger.find(opened, made.id)
    assert found == (made, secret.digest(text))
    assert ledger.every(opened) == [made] and made.terms == terms
    hidden = text.rpartition("_")[2]
    everything = [opened.rows(f"SELECT * FROM {name}") for name in ("keys", "levels")]
    assert text not in str(everything) and hidden not in str(everything)


def test_a_name_is_free_again_when_its_key_is_revoked(opened: Database) -> None:
    first, _ = ledger.create(opened, "alice", Terms(), NOW)
    with pytest.raises(KeysError, match="'alice' already"):
        ledger.create(opened, "alice", Terms(), NOW)
    assert ledger.revoke(opened, "alice", NOW).id == first.id
    second, text = ledger.create(opened, "alice", Terms(), NOW)
    assert ledger.revoke(opened, text, NOW).id == second.id
    with pytest.raises(KeysError) as refused:
        ledger.revoke(opened, text, NOW)
    assert text not in refused.value.sentence()


@pytest.mark.parametrize(
    "attack", ["x'; DROP TABLE keys; --", "' OR '1'='1", "%s", "?", '"', "a\\'b", "\u202e"]
)
def test_statements_in_names_are_names(attack: str, opened: Database) -> None:
    made, _ = ledger.create(opened, attack, Terms(models=frozenset([attack])), NOW)
    record(opened, made, entry(made, model=attack))
    assert [(one.name, one.model) for one in ledger.usage(opened, NOW, NOW + 1)] == [(attack, attack)]
    assert ledger.find(opened, attack) is None
    with pytest.raises(KeysError):
        ledger.revoke(opened, attack + " ", NOW)
    assert ledger.revoke(opened, attack, NOW).name == attack
    assert len(ledger.every(opened)) == 1


def test_an_entry_counts_once(opened: Database) -> None:
    made, _ = ledger.create(opened, "alice", Terms(tokens_per_minute=100), NOW)
    one = entry(made)
    record(opened, made, one, one)
    record(opened, made, one)
    (taken,) = ledger.usage(opened, NOW, NOW + 1)
    assert (taken.requests, taken.prompt_tokens, taken.completion_tokens, taken.cost) == (1, 10, 5, 30)
    assert opened.rows("SELECT cost FROM months")[0][0] == 30
    assert opened.rows("SELECT tokens FROM levels")[0][0] == (100 - 15) * 1_000_000


def test_a_budget_is_a_months(opened: Database) -> None:
    made, _ = ledger.create(opened, "alice", Terms(monthly_budget=30), NOW)
    ends = times.bounds("2026-11")[1]
    record(opened, made, entry(made, at=ends - 1, duration=10_000_000))
    with pytest.raises(Refused) as refused, opened.writing(durably=False):
        ledger.let_in(opened, made, ends - 1)
    assert refused.value.reason is Reason.BUDGET
    with opened.writing(durably=False):
        ledger.let_in(opened, made, ends)


def test_a_transaction_that_fails_leaves_nothing(opened: Database) -> None:
    made, _ = ledger.create(opened, "alice", Terms(), NOW)
    with pytest.raises(ZeroDivisionError), opened.writing(durably=True):
        ledger.record(opened, made, entry(made))
        raise ZeroDivisionError
    assert ledger.usage(opened, 0, 2 * NOW) == []
    record(opened, made, entry(made))
    assert len(ledger.usage(opened, 0, 2 * NOW)) == 1


def test_many_connections_at_the_limit_at_once(url: str, opened: Database) -> None:
    """Each is a worker; together they let in as many as one would."""
    made, _ = ledger.create(opened, "alice", Terms(requests_per_minute=20), NOW)
    begin = threading.Barrier(4)

    def ask() -> int:
        admitted = 0
        with closing(database.connect(url)) as own:
            begin.wait()
            for _ in range(10):
                try:
                    with own.writing(durably=False):
                        ledger.let_in(own, made, NOW)
                    admitted += 1
                except Refused:
                    pass
        return admitted

    with ThreadPoolExecutor(4) as pool:
        assert sum(one.result() for one in [pool.submit(ask) for _ in range(4)]) == 20


def test_the_clerk_lets_in_and_writes_down(url: str, opened: Database) -> None:
    made, text = ledger.create(opened, "alice", Terms(requests_per_minute=3), NOW)
    free, free_text = ledger.create(opened, "bob", Terms(), NOW)
    wrong = text[:-4] + ("0000" if not text.endswith("0000") else "1111")

    async def work() -> None:
        books = Clerk(url, now=lambda: NOW)
        await books.start()
        asked = [books.let_in(text, counts=True) for _ in range(5)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, Refused) for one in told) == 2
        assert (await books.let_in(text, counts=False)).key == made
        assert (await books.let_in(free_text, counts=True)).key == free
        for bad in (wrong, "bk_" + "0" * 12 + "_" + "0" * 64, "short", "x" * 1_000_000):
            with pytest.raises(Refused) as refused:
                await books.let_in(bad, counts=True)
            assert refused.value.reason is Reason.WRONG_KEY
        await asyncio.gather(*(books.write(free, entry(free)) for _ in range(600)))
        # nobody waits for this one
        asyncio.create_task(books.write(free, entry(free))).cancel()
        left = asyncio.create_task(books.write(free, entry(free)))
        await asyncio.sleep(0)
        left.cancel()
        await books.close()

    asyncio.run(work())
    assert [one.requests for one in ledger.usage(opened, NOW, NOW + 1)] == [601]
    assert ledger.refusals(opened, "2026-11") == 4


def test_a_revoked_key_ends_at_once(url: str, opened: Database) -> None:
    made, text = ledger.create(opened, "alice", Terms(), NOW)
    _, old = ledger.create(opened, "old", Terms(expires=NOW), NOW)

    async def work() -> None:
        books = Clerk(url, now=lambda: NOW)
        await books.start()
        await books.let_in(text, counts=True)
        ledger.revoke(opened, made.id, NOW)
        for ended, said in ((text, "revoked"), (old, "expired")):
            with pytest.raises(Refused, match=said):
                await books.let_in(ended, counts=True)
        await books.close()

    asyncio.run(work())


def test_a_lost_connection_to_postgresql_is_made_again(postgres: str) -> None:
    import psycopg

    with closing(database.connect(postgres)) as opened, psycopg.connect(postgres, autocommit=True) as other:
        database.prepare(opened)
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(KeysError), opened.writing(durably=True):
            raise AssertionError("the connection was not lost")
        with opened.writing(durably=True):
            opened.rows("SELECT count(*) FROM keys")


KILLED = """
import asyncio, os, signal, sys
from builder.gateway.keys import database, ledger
from builder.gateway.keys.clerk import Clerk
from builder.gateway.keys.key import Terms
from builder.gateway.keys.ledger import Entry

async def work(url):
    opened = database.connect(url)
    key, _ = ledger.create(opened, "alice", Terms(), 1)
    books = Clerk(url)
    await books.start()

    async def one(place):
        await books.write(key, Entry(str(place), key.id, "m", 1, 1, 1, 200, 1, 1))
        print(place, flush=True)
        if place == 150:
            os.kill(os.getpid(), signal.SIGKILL)

    await asyncio.gather(*(one(place) for place in range(500)))

asyncio.run(work(sys.argv[1]))
"""


def test_what_was_acknowledged_outlives_a_kill(url: str, opened: Database) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = set(done.stdout.split())
    kept = {row[0] for row in opened.rows("SELECT id FROM requests")}
    assert "150" in acknowledged <= kept
    # what was committed is committed whole: the month's sum is that of the rows
    assert opened.rows("SELECT cost FROM months")[0][0] == len(kept)


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
        ledger.create(opened, "alice", Terms(), NOW)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes["keys.db"] == modes["keys.db-wal"] == 0o600


@pytest.mark.parametrize("bad", ["mysql://x/y", "sqlite://", "sqlite:///", "sqlite://host", ""])
def test_an_address_that_is_none(bad: str) -> None:
    with pytest.raises(KeysError, match="no database of keys"):
        database.connect(bad, creating=True)


def test_a_file_that_is_not_there_or_no_database(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="does not exist"):
        database.connect(str(tmp_path / "none.db"))
    other = tmp_path / "text.db"
    other.write_text("this is no database of any kind" * 100)
    with pytest.raises(KeysError, match="not a database"):
        database.connect(str(other))


def test_a_database_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    path = tmp_path / "keys.db"
    with closing(database.connect(str(path), creating=True)) as opened:
        database.prepare(opened)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(KeysError, match="locked"), opened.writing(durably=True):
                pass
        with opened.writing(durably=True):
            pass


def test_clocks_are_in_microseconds() -> None:
    assert abs(times.moment(clerk.clock()) - datetime.now(UTC)).total_seconds() < 60
