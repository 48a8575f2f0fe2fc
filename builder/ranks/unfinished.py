"""What a killed conversion leaves, for the next one to go on with: a folder that is never taken for ranks.

It holds `ranks` as they grow, the `journal`, and the `lock` that whoever works there holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builder import files
from builder.ranks import blocks, disk
from builder.ranks.journal import Journal
from builder.ranks.layout import RankFile
from builder.ranks.reading import Source

Say = Callable[[str], None]
"""Called with a line for people."""

CONFIG = "config.json"


@dataclass(frozen=True)
class Unfinished:
    """A folder that is ours alone for now."""

    folder: Path

    @property
    def ranks(self) -> Path:
        return self.folder / "ranks"

    def begun(self, identity: str, ranks: Sequence[RankFile]) -> Journal:
        """Return how far the same conversion came here; what another left is removed."""
        path = self.folder / "journal"
        journal = Journal(path, identity)
        if journal.done and self._holds(ranks):
            return journal
        path.unlink(missing_ok=True)
        # a power loss must not bring it back beside ranks that are new
        disk.sync(self.folder)
        shutil.rmtree(self.ranks, ignore_errors=True)
        self.ranks.mkdir()
        return Journal(path, identity)

    def nbytes(self) -> int:
        """Return what the ranks take on the disk so far."""
        return sum(path.stat().st_blocks * 512 for path in self.ranks.iterdir())

    @contextmanager
    def removed_if_refused(self) -> Iterator[None]:
        """Remove all where the block fails for good: what is killed, or loses its disk, can go on."""
        try:
            yield
        except OSError as failure:
            if failure.errno in files.REMEDIES:
                _remove(self.folder)
            raise
        except Exception:
            _remove(self.folder)
            raise

    def become(self, out: Path) -> None:
        """Make the ranks, which are whole, those of `out`."""
        self.ranks.rename(out)
        disk.sync(out.absolute().parent)
        _remove(self.folder)

    def give(self, out: Path) -> None:
        """Give the ranks to `out` too, as hard links; where there are none such, they move."""
        given = self.folder / "given"
        shutil.rmtree(given, ignore_errors=True)
        given.mkdir()
        try:
            for path in self.ranks.iterdir():
                # who goes on writes the config anew
                (shutil.copyfile if path.name == CONFIG else os.link)(path, given / path.name)
        except OSError:
            given = self.ranks
        disk.sync(given / CONFIG)
        disk.sync(given)
        given.rename(out)
        disk.sync(out.absolute().parent)

    def _holds(self, ranks: Sequence[RankFile]) -> bool:
        """Say whether all files are there as they were laid out, and nothing else is."""
        try:
            names = {path.name for path in self.ranks.iterdir()} - {CONFIG}
            return names == {rank.name for rank in ranks} and all(self._is_laid_out(one) for one in ranks)
        except FileNotFoundError:
            return False

    def _is_laid_out(self, rank: RankFile) -> bool:
        head = rank.header.head
        with (self.ranks / rank.name).open("rb") as file:
            return os.fstat(file.fileno()).st_size == rank.nbytes and file.read(len(head)) == head


def beside(out: Path) -> Path:
    """Return where a conversion to `out` is kept until it is whole."""
    out = out.absolute()
    return out.parent / f".{out.name}.part"


def identity(sources: Sequence[Source], ranks: Sequence[RankFile], described: Mapping[str, Any]) -> str:
    """Return 64 hexadecimal digits that change with the source's files, with what is asked, and with us.

    Times of change are among it: two models may be equal in sizes, headers and times of modification,
    where those were set.
    """
    hasher = hashlib.sha256(f"{blocks.BYTES} {np.__version__}".encode())
    for path in sorted({source.path.resolve() for source in sources}):
        status = path.stat()
        told = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        hasher.update(f"{path} {told}\n".encode())
    for source in sources:
        hasher.update(f"{source.path.name} {source.place} {source.info}\n".encode())
    for rank in ranks:
        hasher.update(repr(rank).encode())
    hasher.update(json.dumps(described, sort_keys=True).encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        hasher.update(file.read_bytes())
    return hasher.hexdigest()


@contextmanager
def claimed(folder: Path, say: Say) -> Iterator[Unfinished]:
    """Give a folder that nobody else works in; waits for whoever does. It vanishes where it stays empty."""
    lock = _locked(folder, say)
    try:
        yield Unfinished(folder)
    finally:
        # once it was removed, one of that name may be another's
        if _is_there(folder / "lock", lock) and not (folder / "journal").exists():
            _remove(folder)
        os.close(lock)


def discard(folder: Path) -> None:
    """Remove what was left, unless somebody works there."""
    with suppress(FileNotFoundError), disk.opened(folder / "lock", os.O_RDWR) as lock:
        if _is_free(lock) and _is_there(folder / "lock", lock):
            _remove(folder)


def _locked(folder: Path, say: Say) -> int:
    """Return the open lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            # who had it has just removed the folder
            continue
        if not _is_free(lock):
            say(f"waiting for another conversion, which works in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_there(folder / "lock", lock):
            return lock
        os.close(lock)


def _is_free(lock: int) -> bool:
    """Say whether nobody else had the lock; then it is ours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(path: Path, lock: int) -> bool:
    """Say whether the open lock still is the one of that name: who waited may hold a removed one."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """Remove a folder that is ours; its lock goes last, or another could move in between."""
    shutil.rmtree(folder / "ranks", ignore_errors=True)
    (folder / "journal").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
