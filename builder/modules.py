"""Which files of a package others need: those they reach by import, found without importing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from builder import syntax

PACKAGE = "backends"


def reached(folder: Path, roots: Iterable[Path], package: str = PACKAGE) -> list[Path]:
    """Return `roots` and every module of the package in `folder` they import, with __init__ files, sorted."""
    waiting = list(roots)
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting += _packages(folder, file)
        waiting += [module for name in imports(file) for module in _files(folder, name, package)]
    return sorted(found)


def _packages(folder: Path, file: Path) -> list[Path]:
    folders = [folder / part for part in file.relative_to(folder).parents]
    return [one / "__init__.py" for one in folders if (one / "__init__.py").is_file()]


def imports(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, in functions too; a name taken from one counts as one."""
    for node in ast.walk(syntax.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(folder: Path, name: str, package: str) -> list[Path]:
    if not f"{name}.".startswith(f"{package}."):
        return []
    place = folder.joinpath(*name.removeprefix(package).split(".")[1:])
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return [file for file in candidates if file.is_file() and place != folder]
