"""The files of an imported repository, laid out as its container reads them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from builder import files
from builder.inflight_batcher.imported import ENGINE, TOKENIZING, Imported
from builder.repository import PLACEHOLDER

VERSION = "1"


class Way(NamedTuple):
    """How a file of a model's code, and how what may be large, comes to its place."""

    code: Callable[[Path, Path], None]
    weights: Callable[[Path, Path], None]


def _copy(source: Path, destination: Path) -> None:
    shutil.copyfile(source, destination)
    destination.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IWUSR)


def _link(source: Path, destination: Path) -> None:
    destination.symlink_to(source.resolve())


COPIED, LINKED = Way(_copy, files.place), Way(_link, _link)
"""To be served, and to be looked at alone: a link costs nothing, and leads to another disk too."""


def code(source: Path, home: Path, way: Way) -> None:
    """Lay out all of a model but its config and an engine, in `home`; symlinks are what they lead to."""
    engines = ("config.json", "rank*.engine") if home.name == ENGINE else ()
    for entry in sorted(source.iterdir()):
        if entry.name != "config.pbtxt":
            _lay(entry, home / entry.name, way, ("__pycache__", *engines) if entry.is_dir() else ())
    (home / VERSION).mkdir(exist_ok=True)
    for folder in home.iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            (folder / PLACEHOLDER).touch()


def _lay(source: Path, destination: Path, way: Way, ignored: tuple[str, ...]) -> None:
    """Lay out a file or folder but names that match; copytree would make folders read-only."""
    if source.is_dir():
        destination.mkdir()
        for entry in sorted(source.iterdir()):
            if not any(fnmatchcase(entry.name, pattern) for pattern in ignored):
                _lay(entry, destination / entry.name, way, ignored)
    else:
        way.code(source, destination)


def place(imported: Imported, stage: Path, way: Way) -> None:
    """Put engine and tokenizer where the configs name them."""
    assert imported.engine is not None
    for file in sorted(imported.engine.path.iterdir()):
        if file.is_file():
            way.weights(file, stage / ENGINE / VERSION / file.name)
    if imported.tokenizer is not None:
        folder = stage / TOKENIZING / VERSION / "tokenizer"
        shutil.rmtree(folder, ignore_errors=True)
        way.weights(imported.tokenizer, folder)
