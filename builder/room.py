"""Whether there is room on the disks for artifacts that are yet to be made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from builder import house
from builder.errors import ComparisonError

GB = 1e9


def require(artifacts: Mapping[str, int], output: Path) -> None:
    """Raise ComparisonError where artifacts do not fit, key -> bytes; those in the cache need nothing more.

    On the cache's disk a repository takes nothing: it links to them. On another it takes them once more.
    """
    cache = _existing(house.cache_folder())
    place = _existing(output)
    missing = [
        size for key, size in artifacts.items() if not (house.cache_folder() / "artifacts" / key).exists()
    ]
    _require(cache, sum(missing), len(missing), "the cache, $BUILDER_CACHE")
    if _disk(cache) != _disk(place):
        _require(place, sum(artifacts.values()), len(artifacts), "--output")


def _require(folder: Path, needed: int, count: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ComparisonError(
            f"{count} artifacts of {needed / GB:.2f} GB together do not fit on the disk of {folder}, "
            f"which has {free / GB:.2f} GB free",
            expected=f"room for all of them on the disk of {what}",
            remedy="free space there, choose another disk, or compare fewer with --quantize",
        )


def _existing(path: Path) -> Path:
    """Return the folder that is there of a path, the nearest above it where it is not."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.is_dir())


def _disk(folder: Path) -> int:
    return folder.stat().st_dev
