"""Writing so that nothing is ever half there: stage, then rename; hard links where the disk allows."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builder.errors import BuilderError

REMEDIES = {
    errno.ENOSPC: "free space on that disk, or point BUILDER_CACHE or the output at another",
    errno.EDQUOT: "free space within the quota, or point BUILDER_CACHE or the output elsewhere",
    errno.EACCES: "make it writable for this user, or choose another folder",
    errno.EPERM: "make it writable for this user, or choose another folder",
    errno.EROFS: "that file system is read-only: choose another folder",
    errno.EXDEV: "it is a mount point, where nothing can be moved in whole: choose a folder inside it",
    errno.ENOTDIR: "a file is in the way: choose another folder",
}
"""What a disk or folder as it is cannot do: the same again would fail as well."""


@contextmanager
def translated(error: type[BuilderError], doing: str) -> Iterator[None]:
    """Turn an OSError into `error` with a remedy; `doing` says what was being written."""
    try:
        yield
    except OSError as failure:
        number = failure.errno or 0
        remedy = REMEDIES.get(number, "mend that and run the same command again: finished stages are kept")
        where = f" ({failure.filename})" if failure.filename else ""
        raise error(f"{doing}: {failure.strerror or failure}{where}", remedy=remedy) from failure


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """Give a new folder beside `final` that becomes `final` when the block ends well, else vanishes.

    Folders that a killed process left behind are removed first. When another process has made
    `final` meanwhile, that one stays: `final` is named by the content that it holds.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with scratch(final) as folder:
        yield folder
        try:
            folder.rename(final)
        except OSError as failure:
            if failure.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


@contextmanager
def scratch(name: Path) -> Iterator[Path]:
    """Give a new folder beside `name` that vanishes with the block; those of killed processes go first."""
    sweep(name)
    folder = name.parent / f".{name.name}.{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(final: Path) -> None:
    """Remove the stages of `final` whose process has ended, and this process's own from another life."""
    for left in final.parent.glob(f".{glob.escape(final.name)}.*"):
        owner = left.suffix[1:]
        # in a container every build may have the same process id
        if owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner))):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file for the block, so that two publications do not interleave."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def place(source: Path, destination: Path) -> None:
    """Put a file or folder at `destination`: hard links where possible, copies where not."""
    if source.is_dir():
        # not copytree: it gathers failures into one that no longer says that the disk is full
        destination.mkdir(parents=True)
        for entry in sorted(source.iterdir()):
            place(entry, destination / entry.name)
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _link(str(source), str(destination))


def _link(source: str, destination: str) -> None:
    try:
        os.link(Path(source).resolve(), destination)
    except OSError as failure:
        if failure.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP):
            raise
        shutil.copy2(source, destination)


def digests(folder: Path) -> dict[str, str]:
    """Return relative name -> sha256 in hexadecimal of every file below a folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                found[str(file.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def dump(value: Any) -> str:
    """Return JSON in the one form that this project writes: sorted, indented, newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def replace_text(path: Path, text: str) -> None:
    """Write a text in the place of a file in one step: whoever reads finds the old or the new one, whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    path.write_text(dump(value), encoding="utf-8")
