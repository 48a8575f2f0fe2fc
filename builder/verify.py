"""Verify: ask a running server everything its repository promises, and report what did not hold.

The checks are the public functions of `verifications/`: the file is the group, the function's name is
the check's, its docstring the description. Golden answers come from the repository, so that no model
library is needed here and the server may be anywhere.
"""

from __future__ import annotations

import http.client
import importlib
import inspect
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from builder import contract, house
from builder.errors import UsageError, VerifyError
from builder.golden import kind, read_golden
from builder.report import Comparison, Report
from builder.served import Repository, read_repository
from builder.single_pass import SinglePass
from builder.subject import Mismatch, Skipped, Subject, Whole, shortened
from builder.triton_client import Client, TritonError

CHECK_SECONDS = 60.0
RUN_SECONDS = 600.0

Progress = Callable[[Comparison], None]
Given = Whole | Subject | SinglePass


@dataclass(frozen=True)
class Check:
    """One question; `run` is given the repository or one front, as `scope` says, and returns what it saw."""

    name: str
    group: str
    description: str
    scope: str
    patience: float
    run: Callable[[Any], str]


def checks() -> list[Check]:
    """Return every check there is, in the order in which they are asked."""
    modules = [
        importlib.import_module(f"builder.verifications.{name}")
        for name in house.plugin_names("verifications")
    ]
    modules.sort(key=lambda module: int(module.ORDER))
    return [check for module in modules for check in _checks_of(module)]


def _checks_of(module: ModuleType) -> Iterator[Check]:
    for name, function in vars(module).items():
        if inspect.isfunction(function) and function.__module__ == module.__name__ and name[0] != "_":
            yield Check(
                name=name,
                group=module.__name__.rpartition(".")[2],
                description=(inspect.getdoc(function) or "").partition("\n")[0],
                scope=module.SCOPE,
                patience=getattr(module, "PATIENCE", 1.0),
                run=function,
            )


def verify(
    repository: Path,
    http: str,
    grpc: str,
    metrics: str | None = None,
    *,
    names: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    check_seconds: float = CHECK_SECONDS,
    run_seconds: float = RUN_SECONDS,
) -> Report:
    """Compare a running server with the repository it serves.

    Args:
        repository: the folder with one folder per model.
        http, grpc, metrics: "host:port"; without metrics the checks that read counters are skipped.
        names: verify these fronts only.
        only: run these checks only.
        progress: called with each comparison as it is made.
        check_seconds, run_seconds: wall clocks of one check (of one with patience: as often) and of the run.

    Raises VerifyError when there is nothing to verify or no server, UsageError for unknown names.
    """
    served = read_repository(repository)
    fronts = require_verifiable(served, names)
    client = Client(http, grpc, metrics, served.configs, patience=min(30.0, check_seconds / 2))
    for door, address, option in (("http", http, "--url"), ("grpc", grpc, "--grpc-url")):
        if not client.alive(door):
            raise VerifyError(
                f"no server answers at {door}://{address}",
                expected="a Triton server that serves this repository",
                remedy=f"start one with `builder serve {shlex.quote(str(repository))}`, or correct {option}",
            )
    if metrics is not None:
        _require_metrics(client)
    run = _Run(client, progress, check_seconds, time.monotonic() + run_seconds)
    chosen = _chosen(only)
    started = time.monotonic()
    ground = Whole(served, client)
    for check in chosen:
        if check.scope == "repository":
            run.ask(check, "", ground)
    for name in fronts:
        scope, subject = _subject(served, name, client)
        for check in chosen:
            if check.scope == scope:
                run.ask(check, name, subject)
    return Report(tuple(run.made), time.monotonic() - started)


def _require_metrics(client: Client) -> None:
    try:
        client.metrics()
    except (OSError, http.client.HTTPException, TritonError) as error:
        raise VerifyError(
            f"no metrics answer at http://{client.metrics_address}/metrics: {error}",
            expected="the metrics of the same server",
            remedy="correct --metrics-url",
        ) from error


def _subject(served: Repository, name: str, client: Client) -> tuple[str, Subject | SinglePass]:
    """Return which checks a front is asked, and what they are given."""
    folder = served.version_folder(name)
    path = folder / "golden.json"
    if kind(path) == "single_pass":
        return "single_pass", SinglePass(name, folder, client)
    return "generation", Subject(name, folder, read_golden(path), client)


def _chosen(only: Iterable[str] | None) -> list[Check]:
    every = checks()
    if only is None:
        return every
    wanted = set(only)
    unknown = wanted - {check.name for check in every}
    if unknown:
        raise UsageError(
            f"no check is named {', '.join(sorted(unknown))}", remedy="see `builder verify --list`"
        )
    return [check for check in every if check.name in wanted]


def require_verifiable(served: Repository, names: Iterable[str] | None) -> list[str]:
    """Return the fronts to verify; raise UsageError for unknown names, and where no check is said of them."""
    fronts = _fronts(served, names)
    _require_known_contracts(served, fronts)
    return fronts


def _fronts(served: Repository, names: Iterable[str] | None) -> list[str]:
    fronts = served.fronts()
    if names is None:
        return fronts
    wanted = list(names)
    unknown = [name for name in wanted if name not in fronts]
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} has no manifest.json in {served.folder}",
            expected=f"one of {', '.join(fronts) or 'none'}",
        )
    return wanted


def _require_known_contracts(served: Repository, fronts: Iterable[str]) -> None:
    other = {name: served.contract(name) for name in fronts if served.contract(name) != contract.USUAL}
    if other:
        named = ", ".join(f"{name} ({its})" for name, its in other.items())
        raise UsageError(
            f"what is verified is said in contract {contract.USUAL}, and these speak another: {named}",
            expected=f"models of contract {contract.USUAL}",
            remedy="name the others with --name; their engine proved these before they were published",
        )


class _Run:
    """Asks one check after the other; a check may fail, crash or hang without taking the rest along."""

    def __init__(
        self, client: Client, progress: Progress | None, check_seconds: float, deadline: float
    ) -> None:
        self.made: list[Comparison] = []
        self._client = client
        self._progress = progress
        self._check_seconds = check_seconds
        self._deadline = deadline
        self._over: str | None = None

    def ask(self, check: Check, model: str, given: Given) -> None:
        started = time.monotonic()
        passed, detail, skipped = self._outcome(check, given)
        comparison = Comparison(
            name=check.name,
            group=check.group,
            model=model,
            description=check.description,
            passed=passed,
            detail=detail,
            seconds=time.monotonic() - started,
            skipped=skipped,
        )
        self.made.append(comparison)
        if self._progress is not None:
            self._progress(comparison)

    def _outcome(self, check: Check, given: Given) -> tuple[bool, str, str | None]:
        if self._over is not None:
            return False, f"not asked: {self._over}", None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._over = f"the run's wall clock ran out before {check.name}"
            return False, self._over, None
        try:
            return True, self._timed(check, given, min(left, self._check_seconds * check.patience)), None
        except Skipped as reason:
            return True, "", str(reason)
        except Mismatch as mismatch:
            return False, str(mismatch), None
        except Exception as error:  # a check that crashes is a check that failed
            return False, self._why(check, error), None

    def _timed(self, check: Check, given: Given, seconds: float) -> str:
        """Run a check in a thread of its own, because a call into a dead server may never return."""
        outcome: list[str | BaseException] = []

        def work() -> None:
            try:
                outcome.append(check.run(given))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work, name=f"verify {check.name}", daemon=True)
        thread.start()
        thread.join(seconds)
        if not outcome:
            raise TimeoutError(f"no result within {seconds:g} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _why(self, check: Check, error: Exception) -> str:
        text = f"{type(error).__name__}: {shortened(str(error), 300)}"
        if isinstance(error, TritonError | OSError | http.client.HTTPException) and not self._client.alive():
            self._over = f"the server stopped answering during {check.name}"
            return f"{self._over} ({text})"
        return text
