"""What a rule of `rules/` is: a function that yields faults, under a stable code."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from builder.finding import Severity
from builder.planning import versions
from builder.textproto import Path, Place

CONFIG = "config.pbtxt"

OLDEST, NEWEST = "24.10", max(versions.containers())
"""The releases whose rules are known."""

_LETTERS_OFF = 12
_MANY_NAMES = 500
_SECTION = re.compile(r"^(Triton|Bad|Good):[ \n]?", re.MULTILINE)


@dataclass(frozen=True)
class Fault:
    """What a rule found: `field` is the path to it in config.pbtxt, `place` its place where no path leads.

    `file` is relative to the model's folder. `severity` replaces the rule's. `model` is the folder's name
    where the rule runs once for all models, `repository` the repository where only one of several is meant.
    """

    field: Path
    message: str
    remedy: str
    file: str = CONFIG
    severity: Severity | None = None
    model: str = ""
    place: Place | None = None
    repository: str = ""


@dataclass(frozen=True)
class Host:
    """Who is to serve the repository: the release of Triton's container, its GPUs and backends.

    None is not known. `completes` says whether backends may add to a config, as is Triton's default;
    `compute` are the capabilities of its GPUs, such as "9.0", () where they are not known.
    """

    triton: str = NEWEST
    gpus: int | None = None
    backends: frozenset[str] | None = None
    completes: bool = True
    compute: tuple[str, ...] = ()

    def has(self, release: str) -> bool:
        """Return whether this server is of a release or later."""
        return _number(self.triton) >= _number(release)


Function = Callable[..., Iterable[Fault]]


@dataclass(frozen=True)
class Rule:
    """A function and what its docstring says.

    The function takes what it names: `repository` (layout.Layout), `host` (Host), `model`
    (layout.Model) to run once for each model, `config` (its ModelConfig) to run only where that can be read.
    """

    code: str
    severity: Severity
    function: Function

    @property
    def name(self) -> str:
        return self.function.__name__.replace("_", "-")

    @cached_property
    def wanted(self) -> frozenset[str]:
        """Return the names of what the function takes."""
        return frozenset(inspect.signature(self.function).parameters)

    @property
    def summary(self) -> str:
        """Return the first line of the docstring: what is right."""
        return self._text.split("\n")[0]

    @property
    def explanation(self) -> str:
        """Return the paragraphs between the first line and the sections."""
        return _SECTION.split(self._text)[0].partition("\n")[2].strip()

    @property
    def reason(self) -> str:
        """Return Triton's own words, "" for what it accepts."""
        return " ".join(self._section("Triton").split())

    @property
    def bad(self) -> str:
        """Return the example that has the fault: files as `files_of` reads them."""
        return textwrap.dedent(self._section("Bad")).strip("\n")

    @property
    def good(self) -> str:
        """Return the example without it."""
        return textwrap.dedent(self._section("Good")).strip("\n")

    @property
    def _text(self) -> str:
        return inspect.getdoc(self.function) or ""

    def _section(self, name: str) -> str:
        parts = _SECTION.split(self._text)
        sections: dict[str, str] = dict(zip(parts[1::2], parts[2::2], strict=True))
        return sections.get(name, "")


def rule(code: str, severity: Severity = "error") -> Callable[[Function], Rule]:
    """Make a function a rule of this code; the code is for ever, the name may change."""

    def register(function: Function) -> Rule:
        return Rule(code, severity, function)

    return register


def files_of(example: str) -> dict[str, str]:
    """Return an example's files by path; what stands before the first `== path` is m/config.pbtxt.

    A path that ends in "/" is a folder.
    """
    files = {f"m/{CONFIG}": ""}
    path = f"m/{CONFIG}"
    for line in example.split("\n"):
        if line.startswith("== "):
            path = line.removeprefix("== ")
            files.setdefault(path, "")
        else:
            files[path] += line + "\n"
    return files


def closest(wrong: str, existing: Iterable[str]) -> str:
    """Return which of the names was probably meant, "" for none."""
    near = [name for name in existing if abs(len(name) - len(wrong)) <= _LETTERS_OFF]
    if len(near) > _MANY_NAMES:
        # each comparison costs some 50 microseconds
        near = [name for name in near if name[:1] == wrong[:1]][:_MANY_NAMES]
    return next(iter(difflib.get_close_matches(wrong, near, 1)), "")


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))
