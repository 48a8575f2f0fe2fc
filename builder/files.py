"""Writing so that nothing is ever half there: stage, then rename; hard links where the disk allows."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builder.errors import BuilderError

_REMEDIES = {
    errno.ENOSPC: "free space on that disk, or point BUILDER_CACHE or the output at another",
    errno.EDQUOT: "free space within the quota, or point BUILDER_CACHE or the output elsewhere",
    errno.EACCES: "make it writable for this user, or choose another folder",
    errno.EPERM: "make it writable for this user, or choose another folder",
    errno.EROFS: "that file system is read-only: choose another folder",
    errno.ENOTDIR: "a file is in the way: choose another folder",
}


@contextmanager
def translated(error: type[BuilderError], doing: str) -> Iterator[None]:
    """Turn an OSError into `error` with a remedy; `doing` says what was being written."""
    try:
        yield
    except OSError as failure:
        number = failure.errno or 0
        remedy = _REMEDIES.get(number, "mend that and run the same command again: finished stages are kept")
        where = f" ({failure.filename})" if failure.filename else ""
        raise error(f"{doing}: {failure.strerror or failure}{where}", remedy=remedy) from failure


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """Give a new folder beside `final` that becomes `final` when the block ends well, else vanishes.

    Folders that a killed process left behind are removed first.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    folder = final.parent / f".{final.name}.{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
        folder.rename(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(final: Path) -> None:
    for left in final.parent.glob(f".{final.name}.*"):
        owner = left.suffix[1:]
        if owner.isdigit() and not _alive(int(owner)):
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
        shutil.copytree(source, destination, copy_function=_link, symlinks=False)
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


def write_json(path: Path, value: Any) -> None:
    path.write_text(dump(value), encoding="utf-8")
