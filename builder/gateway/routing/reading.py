"""The file of routes, TOML, read strictly: what is wrong in it is named, and what was expected instead."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from builder.errors import UsageError
from builder.gateway.routing.route import Canary, Route
from builder.gateway.routing.tables import Table

LARGEST = 2**20
"""Bytes that a file of routes may have."""

Routes = Mapping[str, Route]
"""Name -> where it leads. Several names may have one route."""


def read(path: Path) -> str:
    """Return the text of a file of routes. Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageError(f"{path} is larger than {LARGEST} bytes", expected="a file of routes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", expected="a TOML file of routes") from error


def parse(text: str, path: Path) -> Routes:
    """Return the routes that a text tells; `path` is for what is said of its mistakes. Raises UsageError."""
    try:
        return of_tables(tomllib.loads(text), path)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy="correct the file") from error


def of_tables(found: Mapping[str, Any], path: Path) -> Routes:
    """Return the routes of a file that was parsed. Raises UsageError."""
    whole = Table(path, "", found)
    tables = whole.table("routes") or {}
    whole.end("routes")
    routes = {name: _route(whole.within("routes", name, given), name) for name, given in tables.items()}
    return _joined(path, routes)


def _route(table: Table, name: str) -> Route:
    table.require_name(name, "a route")
    to, weights, canary = table.name("to"), _weights(table), _canary(table)
    fallback = table.names("fallback")
    table.end("to", "split", "canary", "fallback")
    if (to is None) == (weights is None):
        found = "neither" if to is None else "both"
        raise table.wrong("", f"has {found} of 'to' and 'split'", "one of them, which says where it leads")
    if canary is not None and to is None:
        raise table.wrong("canary", "stands beside a split", "a canary beside one model, 'to'")
    if canary is not None and canary.model == to:
        raise table.wrong("canary.model", f"is {to!r}, which 'to' is too", "another model")
    for model in (to, canary.model if canary else None):
        if model in fallback:
            why = "'to' is asked before them" if model == to else "a canary that was taken back stays away"
            raise table.wrong("fallback", f"names {model!r}", f"other models: {why}")
    return Route(name, weights or {str(to): 1.0}, canary, fallback)


def _weights(table: Table) -> Mapping[str, float] | None:
    split = table.inner("split")
    if split is None:
        return None
    weights = {model: split.number(model, 0, 1e9, required=True) for model in split.names_of()}
    for model in weights:
        table.require_name(model, "a model")
    if not sum(weights.values()):
        raise table.wrong("split", f"has the weights {list(weights.values())}", "one above 0 at the least")
    return weights


def _canary(table: Table) -> Canary | None:
    given = table.inner("canary")
    if given is None:
        return None
    default = Canary("", 0.0)
    canary = Canary(
        given.name("model", required=True),
        given.number("share", 0, 100, required=True),
        given.number("max_error_rate", 0, 1, default.max_error_rate),
        given.number("max_latency_ratio", 1, 1e6, default.max_latency_ratio),
        given.whole("window", 1, 86_400, default.window),
        given.whole("min_answers", 1, 1_000_000, default.min_answers),
    )
    given.end(*(one.name for one in fields(Canary)))
    return canary


def _joined(path: Path, routes: Routes) -> Routes:
    """Return the routes with names of names followed to their ends. Raises UsageError for circles."""
    for name, route in routes.items():
        if _is_alias(route):
            continue
        for model in route.models:
            if model in routes and model != name:
                raise UsageError(
                    f"{path}: routes.{name} leads to {model!r}, which is a route itself",
                    expected="names of models; only a route that has 'to' alone may name another one",
                    remedy=f"name the models that {model!r} leads to",
                )
    return {name: _followed(path, routes, name) for name in routes}


def _followed(path: Path, routes: Routes, name: str) -> Route:
    seen = [name]
    while _is_alias(routes[seen[-1]]):
        following = routes[seen[-1]].stable
        if following in seen:
            raise UsageError(
                f"{path}: routes lead in a circle: {' -> '.join([*seen, following])}",
                expected="a model at the end",
                remedy="name the model itself in 'to' of one of them",
            )
        if following not in routes:
            break
        seen.append(following)
    return routes[seen[-1]]


def _is_alias(route: Route) -> bool:
    """Say whether a route is another name and nothing else, which only `to` makes it."""
    return len(route.weights) == 1 and not route.canary and not route.fallback
