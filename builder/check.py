"""Find what is wrong with a repository before Triton does; every rule is one function in `rules/`.

Adding a rule is adding such a function, under `@rule` with a new code, to a file of `rules/`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from builder import house, layout, textproto
from builder.finding import SEVERITIES, Finding
from builder.layout import Layout, Model
from builder.rule import CONFIG, Fault, Host, Rule
from builder.rules import unreadable


@dataclass(frozen=True)
class Choice:
    """Which rules to run: those whose code begins with one of `select` and with none of `ignore`."""

    select: tuple[str, ...] = ("",)
    ignore: tuple[str, ...] = ()

    def __contains__(self, code: str) -> bool:
        return code.startswith(self.select) and not (self.ignore and code.startswith(self.ignore))


_Found = tuple[Rule, Model | None, Fault]
# a rule says no more than this of one model: a config of 1 MB could make it say a million things
_MOST = 1_000
_NEWEST_HOST = Host()
_EVERY_RULE = Choice()


def check(*repositories: Path, host: Host = _NEWEST_HOST, choice: Choice = _EVERY_RULE) -> list[Finding]:
    """Run the rules on what Triton would serve together: the worst findings first, then by place."""
    return check_layout(layout.read(*repositories), host, choice)


def check_layout(
    repository: Layout, host: Host = _NEWEST_HOST, choice: Choice = _EVERY_RULE
) -> list[Finding]:
    """Run the rules on a repository that was read before."""
    places = _Places()
    found = dict.fromkeys(
        _finding(one, fault, model, repository, places)
        for chosen in rules()
        if chosen.code in choice
        for one, model, fault in _run(chosen, repository, host)
        if one.code in choice and (model is None or not one.code.startswith(model.ignored))
    )
    return sorted(
        found,
        key=lambda one: (SEVERITIES.index(one.severity), one.path, one.line, one.column, one.code),
    )


@cache
def rules() -> tuple[Rule, ...]:
    """Return every rule of every module of `rules/`, by code."""
    modules = [importlib.import_module(f"builder.rules.{name}") for name in house.plugin_names("rules")]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Rule)]
    return tuple(sorted(found, key=lambda one: one.code))


def _run(one: Rule, repository: Layout, host: Host) -> Iterator[_Found]:
    given = {"repository": repository, "host": host}
    shared = {name: value for name, value in given.items() if name in one.wanted}
    if not one.wanted & {"model", "config"}:
        for told, owner, fault in _faults(one, None, repository, shared):
            yield told, owner or repository.models.get(fault.model), fault
        return
    for model in repository.models.values():
        own = {"model": model, "config": model.config}
        if "config" not in one.wanted or model.config is not None:
            wanted = {name: own[name] for name in own if name in one.wanted}
            yield from islice(_faults(one, model, repository, shared | wanted), _MOST)


def _faults(
    one: Rule, model: Model | None, repository: Layout, arguments: Mapping[str, Any]
) -> Iterator[_Found]:
    """Yield what a rule finds; what it cannot read ends it, and is a fault of the file."""
    try:
        for fault in one.function(**arguments):
            yield one, model, fault
    except OSError as error:
        owner = repository.owner(str(error.filename)) or model
        folder = repository.path if owner is None else owner.path
        yield unreadable.file_unreadable, owner, unreadable.fault(error, folder)


@dataclass
class _Places:
    """The places of the configs that have findings, read once each."""

    known: dict[Path, textproto.Places] = field(default_factory=dict)

    def of(self, model: Model | None, fault: Fault) -> textproto.Place:
        nowhere = textproto.Place(0, 0)
        if fault.place is not None:
            return fault.place
        if model is None or fault.file != CONFIG or not model.text:
            return nowhere
        if model.path not in self.known:
            self.known[model.path] = textproto.places(model.text)
        return self.known[model.path].of(fault.field) or nowhere


def _finding(one: Rule, fault: Fault, model: Model | None, repository: Layout, places: _Places) -> Finding:
    place = places.of(model, fault)
    folder = fault.repository or (repository.path if model is None else model.path.parent)
    parts: Sequence[str] = (fault.file,) if model is None else (model.name, fault.file)
    return Finding(
        one.code,
        one.name,
        fault.severity or one.severity,
        str(folder),
        os.path.normpath(Path(*parts)),
        *place,
        fault.message,
        fault.remedy,
    )
