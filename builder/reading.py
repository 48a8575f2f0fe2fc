"""Read files of a folder that nobody vouches for: plain files only, no more than is needed, none outside.

What cannot be read raises an OSError that names the file, and `builder check` makes a finding of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from builder.finding import Severity

LARGEST = 2**20
"""Bytes of a config, of code or of JSON: what people write is a tenth of it, and Python's own parser takes
900 times as much memory as it reads."""

LARGEST_LIST = 2**24
"""Bytes of a file that is only counted, such as labels."""


class Refused(OSError):
    """A file that is there, and is not read."""

    remedy = ""
    severity: Severity | None = None

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EPERM, why, str(path))


class LeadsOut(Refused):
    """A symlink leads out of the checked folders: Triton follows it."""

    remedy = "check the folder that it leads to by itself, or put what is there in its place"
    severity = "warning"

    def __init__(self, path: Path) -> None:
        super().__init__(path, "it leads out of the checked folders by a symlink")


class TooLarge(Refused):
    """More than anybody writes by hand."""

    remedy = "shorten it, or move the data in it to a file of their own"

    def __init__(self, path: Path, most: str) -> None:
        super().__init__(path, f"it has more than {most}")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a plain file; a device or pipe, where opening or reading may wait for ever, is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            yield file
    except OSError as error:
        if error.filename is None:
            # what fails while reading does not say where
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def content(path: Path, most: int = LARGEST) -> bytes:
    """Return what a file holds; raise TooLarge where that is more than `most` bytes."""
    with opened(path) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise TooLarge(path, f"{most:,} bytes")
    return found


def lines(path: Path) -> int:
    """Return how many lines a file has, the last of which may lack its end; raise TooLarge like `content`."""
    found = content(path, LARGEST_LIST)
    # blank lines at the end name nothing
    return len(found.rstrip().splitlines())


def json_of(path: Path) -> tuple[Any, str]:
    """Return what a JSON file holds, and what keeps it from being JSON."""
    try:
        return json.loads(content(path)), ""
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON: {error}"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def below(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield the plain files at any depth whose names end so; symlinks are not followed."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)
