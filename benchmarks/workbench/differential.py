"""Our verdict on a repository beside Triton's."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from builder import ensemble_graph, layout
from builder.check import check_layout, rules
from builder.finding import Finding
from builder.layout import Layout
from builder.rule import Host
from workbench import mutations
from workbench.verdicts import Triton, Verdict

HOST = Host("24.10", gpus=0, backends=frozenset({"python"}), completes=False)
"""The embedded server."""

SERVERS = 4
"""Triton waits much of the time, most of it for a Python model to end."""

Outcome = Literal["agreed", "missed", "false alarm"]


@dataclass(frozen=True)
class Row:
    """One model of a case: what we found, whether Triton refused it, its reason."""

    case: mutations.Case
    model: str
    outcome: Outcome
    refused: bool
    codes: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def provable() -> frozenset[str]:
    """Return the codes of the rules that a server without GPUs and other backends can prove."""
    errors = frozenset(one.code for one in rules() if one.bad and one.severity == "error")
    return errors - mutations.BEYOND


def run(numbers: Iterable[int], folder: Path) -> Iterator[Row]:
    """Give both verdicts on each case, model by model, in the order of the numbers."""
    free: SimpleQueue[Triton] = SimpleQueue()
    with ExitStack() as servers, ThreadPoolExecutor(SERVERS) as pool:
        for place in range(SERVERS):
            free.put(servers.enter_context(Triton(folder / f"triton-{place}")))
        for rows in pool.map(lambda number: _judge(number, folder / f"case-{number}", free), numbers):
            yield from rows


def _judge(number: int, repository: Path, free: SimpleQueue[Triton]) -> list[Row]:
    case = mutations.write(number, repository)
    found = layout.read(repository)
    findings = check_layout(found, HOST)
    triton = free.get()
    try:
        verdicts = triton.judge(repository)
    finally:
        free.put(triton)
    shutil.rmtree(repository)
    return [_row(case, name, _against(name, found, findings), verdict) for name, verdict in verdicts.items()]


def _row(case: mutations.Case, model: str, codes: set[str], verdict: Verdict) -> Row:
    refused = not verdict.loaded
    outcome = _outcome(bool(codes), refused)
    return Row(case, model, outcome, refused, tuple(sorted(codes)), verdict.reason[-600:])


def _outcome(ours: bool, theirs: bool) -> Outcome:
    if ours == theirs:
        return "agreed"
    return "missed" if theirs else "false alarm"


def _against(name: str, repository: Layout, findings: Iterable[Finding]) -> set[str]:
    """Return the codes of the errors that keep a model from loading: its own, and those of its steps."""
    members, waiting = set(), [name]
    while waiting:
        member = waiting.pop()
        if member not in members:
            members.add(member)
            part = repository.models.get(member)
            waiting += [step.model_name for step in ensemble_graph.steps(part)] if part is not None else []
    return {
        finding.code for finding in findings if finding.model in members and finding.severity != "warning"
    }
