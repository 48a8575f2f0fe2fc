"""Sizes as people write them: 120MB, 6GB, 1.5GiB."""

from __future__ import annotations

import re

from builder.errors import UsageError

UNITS = {"": 1, "B": 1} | {
    f"{letter}{mark}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for mark, base in (("", 1000), ("i", 1024))
}
"""Unit -> bytes (IEC 80000-13)."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def read(option: str, text: str) -> int:
    """Return bytes; raise UsageError for what is no size, or none at all."""
    units = {unit.lower(): size for unit, size in UNITS.items()}
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in units:
        raise UsageError(
            f"{option} {text!r} is no size", expected="a number and a unit, such as 500MB, 6GB or 1.5GiB"
        )
    size = int(float(found[1]) * units[found[2].lower()])
    if size < 1:
        raise UsageError(f"{option} {text!r} leaves no room for anything", expected="more than 0 bytes")
    return size
