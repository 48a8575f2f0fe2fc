"""Which files of `backends/` a Python model needs: those it reaches by import, found without importing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "backends"


def reached(backends: Path, roots: Iterable[Path]) -> list[Path]:
    """Return `roots` and every module of the package they import, with its __init__ files, sorted."""
    waiting = list(roots)
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting += _packages(backends, file)
        waiting += [module for name in _imports(file) for module in _files(backends, name)]
    return sorted(found)


def _packages(backends: Path, file: Path) -> list[Path]:
    folders = [backends / part for part in file.relative_to(backends).parents]
    return [folder / "__init__.py" for folder in folders if (folder / "__init__.py").is_file()]


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(backends: Path, name: str) -> list[Path]:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return []
    place = backends.joinpath(*parts[1:])
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return [file for file in candidates if file.is_file() and place != backends]
