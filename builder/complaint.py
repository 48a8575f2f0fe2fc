"""What a program that failed said of it: the cause first, as far as it tells one; and how ours say it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from builder.errors import BuilderError, Interrupted

_PRINTED, _INDENT = "error: ", "  "
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
    """Return the exception by which a Python program ended, with the parts of one of our own errors.

    What `printed` printed is read as well, where nothing follows it.
    """
    lines = log.splitlines()
    if _TRACEBACK not in lines:
        return _printed(lines)
    begun = len(lines) - lines[::-1].index(_TRACEBACK)
    while begun < len(lines) and (not lines[begun] or lines[begun].startswith(" ")):
        begun += 1
    said = lines[begun : begun + _MOST_LINES]
    is_ours = bool(said and _OURS.match(said[0]))
    return _parts([_OURS.sub("", said[0]), *said[1:]] if is_ours else said, is_ours)


@contextmanager
def printed(again: str) -> Iterator[None]:
    """Print an error of ours as the command line does, and end with 1, or 130 at Ctrl-C; others pass.

    Args:
        again: what is to be done after Ctrl-C.
    """
    try:
        yield
    except BuilderError as error:
        _print(error)
        sys.exit(BuilderError.exit_code)
    except KeyboardInterrupt:
        _print(Interrupted("interrupted", remedy=again))
        sys.exit(Interrupted.exit_code)
    except OSError as error:
        _print(BuilderError(str(error), remedy="make room or choose another place"))
        sys.exit(BuilderError.exit_code)


def _print(error: BuilderError) -> None:
    first, *rest = error.sentence().splitlines()
    sys.stderr.write("\n".join([f"{_PRINTED}{first}", *(f"{_INDENT}{line}" for line in rest)]) + "\n")


def _printed(lines: list[str]) -> Complaint:
    begun = next((at for at in reversed(range(len(lines))) if not lines[at].startswith(_INDENT)), 0)
    said = lines[begun:]
    if not said or not said[0].startswith(_PRINTED):
        return Complaint()
    parts = [said[0].removeprefix(_PRINTED), *(line.removeprefix(_INDENT) for line in said[1:])]
    return _parts(parts[:_MOST_LINES], True)


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
