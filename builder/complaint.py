"""What a program that failed said of it: the cause first, as far as its log tells one."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEBACK = "Traceback (most recent call last):"
# of our own errors the class says nothing: the words do
_OURS = re.compile(r"builder\.errors\.\w+: ")
_PARTS = {"expected: ": "expected", "to mend it: ": "remedy"}
_MOST_LINES, _LONGEST_LINE = 30, 300


@dataclass
class Complaint:
    """The cause in a program's own words, with what it says of mending it; `found` is empty without any."""

    found: str = ""
    expected: str = ""
    remedy: str = ""


def read(log: str) -> Complaint:
    """Return the exception by which a Python program ended, with the parts of one of our own errors."""
    lines = log.splitlines()
    if _TRACEBACK not in lines:
        return Complaint()
    begun = len(lines) - lines[::-1].index(_TRACEBACK)
    while begun < len(lines) and (not lines[begun] or lines[begun].startswith(" ")):
        begun += 1
    said = lines[begun : begun + _MOST_LINES]
    is_ours = bool(said and _OURS.match(said[0]))
    return _parts([_OURS.sub("", said[0]), *said[1:]] if is_ours else said, is_ours)


def last_lines(log: str, count: int = 12) -> str:
    """Return the end of a log, indented."""
    return "\n".join(f"  {line[:_LONGEST_LINE]}" for line in log.splitlines()[-count:])


def _parts(lines: list[str], is_ours: bool) -> Complaint:
    told: dict[str, list[str]] = {"found": []}
    part = "found"
    for line in lines:
        begins = next((words for words in _PARTS if is_ours and line.startswith(words)), "")
        part = _PARTS.get(begins, part)
        told.setdefault(part, []).append(line.removeprefix(begins)[:_LONGEST_LINE])
    return Complaint(**{name: "\n".join(text).strip() for name, text in told.items()})
