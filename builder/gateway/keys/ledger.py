"""Keys and what they took, as rows; every function is one thought of a database's, in a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from builder.errors import KeysError
from builder.gateway.keys import key as keys
from builder.gateway.keys import levels, secret, times
from builder.gateway.keys.database import Database, Row
from builder.gateway.keys.key import Account, Key, Standing, Terms


@dataclass(frozen=True)
class Entry:
    """One request as it is accounted for; `id` is its own, `cost` in millionths, times in microseconds."""

    id: str
    key: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost: int
    status: int
    at: int
    duration: int


@dataclass(frozen=True)
class Taken:
    """What a key took of a model in some time; `cost` in millionths."""

    key: str
    name: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int


_COLUMNS = (
    "id, name, models, requests_per_minute, tokens_per_minute, monthly_budget, expires, created, revoked"
)


def create(database: Database, name: str, terms: Terms, now: int) -> tuple[Key, str]:
    """Return a new key and its text, which nobody can be told again. Raises KeysError for a name in use."""
    number, text = secret.make()
    models = None if terms.models is None else json.dumps(sorted(terms.models))
    limits = (terms.requests_per_minute, terms.tokens_per_minute)
    with database.writing(durably=True):
        if any(key.name == name and key.revoked is None for key in every(database)):
            remedy = "choose another name, or revoke that one first"
            raise KeysError(f"there is a key called {name!r} already", remedy=remedy)
        database.change(
            f"INSERT INTO keys ({_COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)",
            (number, name, models, *limits, terms.monthly_budget, terms.expires, now, secret.digest(text)),
        )
        full = [(limit or 0) * levels.ONE for limit in limits]
        database.change(
            "INSERT INTO levels (key, requests, tokens, at) VALUES (?, ?, ?, ?)", (number, *full, now)
        )
    return Key(number, name, terms, now), text


def every(database: Database) -> list[Key]:
    """Return all keys, the oldest first."""
    return [_key(row) for row in database.rows(f"SELECT {_COLUMNS} FROM keys ORDER BY created, id")]


def revoke(database: Database, wanted: str, now: int) -> Key:
    """Revoke the key of an id or of a whole text, or else the one that is called so.

    Raises KeysError where there is none.
    """
    number = secret.number(wanted) or wanted.removeprefix(secret.PREFIX)
    with database.writing(durably=True):
        living = [key for key in every(database) if key.revoked is None]
        found = [key for key in living if key.id == number] or [key for key in living if key.name == wanted]
        if not found:
            told = ", ".join(f"{secret.PREFIX}{key.id} ({key.name})" for key in living) or "there is none"
            called = number if secret.number(wanted) else wanted
            raise KeysError(f"no key that is not revoked is called {called!r}", expected=told)
        database.change("UPDATE keys SET revoked = ? WHERE id = ?", (now, found[0].id))
    return found[0]


def find(database: Database, number: str) -> tuple[Key, str] | None:
    """Return the key of an id and its digest."""
    rows = database.rows(f"SELECT {_COLUMNS}, digest FROM keys WHERE id = ?", (number,))
    return (_key(rows[0]), rows[0][-1]) if rows else None


def let_in(database: Database, key: Key, now: int) -> Standing:
    """Take a request off a key's limits, within a transaction. Raises Refused."""
    account, standing = keys.let_in(key, _account(database, key.id, now), now)
    _keep(database, key.id, account)
    return standing


def record(database: Database, key: Key, entry: Entry) -> None:
    """Write what a request took, within a transaction; one that is there already stays as it is."""
    tokens = (entry.prompt_tokens, entry.completion_tokens)
    values = (entry.id, entry.key, entry.model, *tokens, entry.cost, entry.status, entry.at, entry.duration)
    written = database.change(
        "INSERT INTO requests (id, key, model, prompt_tokens, completion_tokens, cost, status, at, duration)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        values,
    )
    if not written:
        return
    database.change(
        "INSERT INTO months (key, month, cost) VALUES (?, ?, ?)"
        " ON CONFLICT (key, month) DO UPDATE SET cost = months.cost + excluded.cost",
        (entry.key, times.month(entry.at), entry.cost),
    )
    if key.terms.tokens_per_minute is not None:
        _take_tokens(database, key, entry)


def _take_tokens(database: Database, key: Key, entry: Entry) -> None:
    now = entry.at + entry.duration
    account = keys.fill(key.terms, _account(database, key.id, now), now)
    tokens = account.tokens - (entry.prompt_tokens + entry.completion_tokens) * levels.ONE
    _keep(database, key.id, Account(account.requests, tokens, account.at, account.spent))


def usage(database: Database, begin: int, end: int) -> list[Taken]:
    """Return what keys took of models in requests that came from `begin` to before `end`."""
    rows = database.rows(
        "SELECT requests.key, keys.name, model,"
        " count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost)"
        " FROM requests JOIN keys ON keys.id = requests.key WHERE at >= ? AND at < ?"
        " GROUP BY requests.key, keys.name, model ORDER BY keys.name, requests.key, model",
        (begin, end),
    )
    return [Taken(*row[:3], *map(int, row[3:])) for row in rows]


def refuse(database: Database, count: int, now: int) -> None:
    """Count requests that came without a right key, within a transaction."""
    database.change(
        "INSERT INTO refusals (day, count) VALUES (?, ?)"
        " ON CONFLICT (day) DO UPDATE SET count = refusals.count + excluded.count",
        (times.show(now)[:10], count),
    )


def refusals(database: Database, month: str) -> int:
    """Return how many requests of a month came without a right key."""
    rows = database.rows("SELECT count FROM refusals WHERE day LIKE ?", (f"{month}-%",))
    return sum(int(row[0]) for row in rows)


def _account(database: Database, number: str, now: int) -> Account:
    requests, tokens, at = database.rows("SELECT requests, tokens, at FROM levels WHERE key = ?", (number,))[
        0
    ]
    month = times.month(now)
    spent = database.rows("SELECT cost FROM months WHERE key = ? AND month = ?", (number, month))
    return Account(requests, tokens, at, spent[0][0] if spent else 0)


def _keep(database: Database, number: str, account: Account) -> None:
    values = (account.requests, account.tokens, account.at, number)
    database.change("UPDATE levels SET requests = ?, tokens = ?, at = ? WHERE key = ?", values)


def _key(row: Row) -> Key:
    number, name, models, requests, tokens, budget, expires, created, revoked = row[:9]
    allowed: Sequence[str] | None = None if models is None else json.loads(models)
    terms = Terms(None if allowed is None else frozenset(allowed), requests, tokens, budget, expires)
    return Key(number, name, terms, created, revoked)
