"""`builder keys`."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from builder.commands import options
from builder.errors import KeysError, UsageError

if TYPE_CHECKING:
    from builder.gateway.keys.database import Database
    from builder.gateway.keys.key import Key

Command = TypeVar("Command", bound=Callable[..., Any])
_MOST = 10**9
"""Per minute: a level in millionths, and what refills it, fit into 64 bits."""


def kept(command: Command) -> Command:
    """Add where the keys are kept, and the form of the output."""
    command = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")(command)
    return click.option(
        "--keys",
        envvar="BUILDER_KEYS",
        default="keys.db",
        show_default=True,
        metavar="URL",
        callback=options.not_empty,
        help="Where they are kept: sqlite:///PATH, a path, or postgresql://...",
    )(command)


@contextmanager
def opened(url: str, *, creating: bool = False) -> Iterator[Database]:
    """Give the database at an address, with its tables."""
    from builder.gateway.keys import database

    connected = database.connect(url, creating=creating)
    try:
        database.prepare(connected)
        yield connected
    finally:
        connected.close()


@click.group("keys")
def command() -> None:
    """Make keys for the clients of a gateway, and see what they took."""


def _name(context: click.Context, option: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[\w.@:+-]+(?: [\w.@:+-]+)*", value) or len(value) > 100:
        raise click.BadParameter("letters, digits and . _ @ : + - are expected, 100 of them at the most")
    return value


def _amount(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    from builder.gateway.keys import money

    try:
        return None if value is None else money.amount(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _models(context: click.Context, option: click.Parameter, value: str | None) -> frozenset[str] | None:
    if value is None:
        return None
    names = frozenset(name.strip() for name in value.split(","))
    if "" in names:
        raise click.BadParameter("names of models are expected, with commas between")
    return names


@command.command()
@click.argument("name", callback=_name)
@click.option(
    "--models", metavar="A,B", callback=_models, help="The models that exist for it; all unless given."
)
@click.option("--requests-per-minute", type=click.IntRange(1, _MOST), help="Requests that it may send.")
@click.option("--tokens-per-minute", type=click.IntRange(1, _MOST), help="Tokens, of prompts and of answers.")
@click.option(
    "--monthly-budget", metavar="AMOUNT", callback=_amount, help="What its tokens may cost in a month."
)
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="When it ends, by UTC: a date alone is its first moment.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=options.writable,
    help="A new file for the key, which nobody else can read, in place of stdout.",
)
@kept
def create(
    name: str,
    models: frozenset[str] | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    monthly_budget: int | None,
    expires: datetime | None,
    output: Path | None,
    keys: str,
    as_json: bool,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from builder.gateway.keys import clerk, ledger, times
    from builder.gateway.keys.key import Terms

    ends = None if expires is None else times.of(expires)
    if ends is not None and ends <= clerk.clock():
        raise UsageError(f"--expires {times.show(ends)} is past", expected="a moment to come, by UTC")
    terms = Terms(models, requests_per_minute, tokens_per_minute, monthly_budget, ends)
    with opened(keys, creating=True) as database, _written(output) as write:
        made, text = ledger.create(database, name, terms, clerk.clock())
        if as_json:
            options.print_json(_told(made) | ({} if output else {"key": text}))
        if output or not as_json:
            write(text)
    click.echo(f"made {_shown(made.id)} ({made.name}): it is not shown again", err=True)


@contextmanager
def _written(file: Path | None) -> Iterator[Callable[[str], object]]:
    """Give what writes a key: a file that is there before the key is, and goes where that cannot be made."""
    if file is None:
        yield click.echo
        return
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeysError(f"{file} exists", remedy="choose another --output, or remove it") from None
    with os.fdopen(number, "w") as stream:
        try:
            yield lambda text: stream.write(f"{text}\n")
        except BaseException:
            file.unlink()
            raise


@command.command("list")
@kept
def list_(keys: str, as_json: bool) -> None:
    """List the keys with what they may take, never their secrets."""
    from builder.gateway.keys import ledger
    from builder.printing import tables

    with opened(keys) as database:
        found = [_told(key) for key in ledger.every(database)]
    if as_json:
        options.print_json(found)
        return
    limits = ("requests_per_minute", "tokens_per_minute", "monthly_budget")
    shown = ("id", "name", "state", "models", *limits, "expires", "created")
    heads = [name.replace("_", " ").replace("per minute", "/min").replace("monthly ", "") for name in shown]
    tables.show("Keys", heads, [[_cell(row[name]) for name in shown] for row in found])


@command.command()
@click.argument("key")
@kept
def revoke(key: str, keys: str, as_json: bool) -> None:
    """End a key, told by its id, its name or all of its text: its next request is refused."""
    from builder.gateway.keys import clerk, ledger

    with opened(keys) as database:
        ended = ledger.revoke(database, key, clerk.clock())
    if as_json:
        options.print_json(_told(ended))
        return
    click.echo(f"revoked {_shown(ended.id)} ({ended.name})")


@command.command()
@click.option("--month", metavar="YYYY-MM", help="By UTC; this month unless given.")
@kept
def usage(month: str | None, keys: str, as_json: bool) -> None:
    """Tell what the keys took in a month: requests, tokens, cost."""
    from builder.gateway.keys import clerk, ledger, money, times
    from builder.printing import tables

    month = month or times.month(clerk.clock())
    try:
        bounds = times.bounds(month)
    except ValueError:
        raise click.BadParameter(
            f"{month!r} is no month, YYYY-MM is expected", param_hint="--month"
        ) from None
    with opened(keys) as database:
        taken = ledger.usage(database, *bounds)
        wrong = ledger.refusals(database, month)
    rows = [
        {**dataclasses.asdict(one), "key": _shown(one.key), "cost": money.show(one.cost)} for one in taken
    ]
    if as_json:
        options.print_json({"month": month, "usage": rows, "wrong_keys": wrong})
        return
    names = ("key", "name", "model", "requests", "prompt_tokens", "completion_tokens", "cost")
    heads = [name.replace("_", " ") for name in names]
    tables.show(f"Usage in {month}", heads, [[_cell(row[name]) for name in names] for row in rows])
    click.echo(f"requests with a wrong key: {wrong}")


def _shown(number: str) -> str:
    from builder.gateway.keys import secret

    return f"{secret.PREFIX}{number}"


def _told(key: Key) -> dict[str, Any]:
    from builder.gateway.keys import clerk, money, times

    terms = key.terms
    return {
        "id": _shown(key.id),
        "name": key.name,
        "state": key.state(clerk.clock()),
        "models": None if terms.models is None else sorted(terms.models),
        "requests_per_minute": terms.requests_per_minute,
        "tokens_per_minute": terms.tokens_per_minute,
        "monthly_budget": None if terms.monthly_budget is None else money.show(terms.monthly_budget),
        "expires": None if terms.expires is None else times.show(terms.expires),
        "created": times.show(key.created),
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
