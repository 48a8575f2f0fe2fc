"""Find what is wrong with a repository before Triton does; every rule is one function in `rules/`.

A rule takes `repository` (a Layout) and, when it is to run once for each model, `model`; it yields
findings. Adding a rule is adding such a function to a file of `rules/`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from builder import house, layout

# fatal: Triton would hang, abort or serve something else; error: Triton refuses the model and says
# why; warning: Triton accepts it, its users will be surprised.
Severity = Literal["fatal", "error", "warning"]
Rule = Callable[..., Iterable["Finding"]]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `code` is the rule's name in kebab-case, `where` a path relative to the repository with an
    optional ":line:column"; its first part is the model's name.
    """

    code: str
    severity: Severity
    where: str
    message: str
    remedy: str

    @property
    def model(self) -> str:
        """Return the name of the model that the finding is about, "" for the repository itself."""
        return self.where.split("/")[0].split(":")[0]


def check(repository: Path) -> list[Finding]:
    """Run every rule on a repository and return all findings: the worst first, then by place."""
    return check_layout(layout.read(repository))


def check_layout(repository: layout.Layout) -> list[Finding]:
    """Run every rule on a repository that was read before."""
    found = dict.fromkeys(finding for rule in rules() for finding in _run(rule, repository))
    order = ("fatal", "error", "warning")
    return sorted(found, key=lambda finding: (order.index(finding.severity), finding.where, finding.code))


def rules() -> list[Rule]:
    """Return every public function that a module of `rules/` defines itself."""
    modules = [importlib.import_module(f"builder.rules.{name}") for name in house.plugin_names("rules")]
    return [rule for module in modules for rule in _rules_of(module)]


def _rules_of(module: ModuleType) -> Iterator[Rule]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("_") and function.__module__ == module.__name__:
            yield function


def _run(rule: Rule, repository: layout.Layout) -> Iterator[Finding]:
    if "model" not in inspect.signature(rule).parameters:
        yield from rule(repository=repository)
        return
    for model in repository.models.values():
        yield from rule(model=model, repository=repository)
