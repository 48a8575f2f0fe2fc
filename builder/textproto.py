"""Where each field of a file in protobuf's text format stands: protobuf's own parser keeps no places.

The grammar is that of https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)
    |(?P<text>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)
    |(?P<word>[-+]?[\w.]+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
# names and occurrences; no field of a ModelConfig is half as deep
_DEEPEST = 40
_CLOSING = {"{": "}", "<": ">", "[": "]"}


class Place(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int


class Key(NamedTuple):
    """One entry of a map field, by its key."""

    key: str


Step = str | int | Key
Path = tuple[Step, ...]
"""From the message to a field: names, each followed by an index where it is repeated or by a Key in a map."""


class _Token(NamedTuple):
    text: str
    offset: int


@dataclass
class Places:
    """The places of all fields, by full path: every name is followed by its occurrence.

    `entries` has the occurrence of each entry of a map, by the path to it with the Key in its place.
    """

    text: str
    offsets: dict[Path, int] = field(default_factory=dict)
    entries: dict[Path, int] = field(default_factory=dict)

    def of(self, path: Path) -> Place | None:
        """Return where a field stands, else where the nearest message around it begins; None for neither."""
        found: int | None = None
        full: Path = ()
        for name, occurrence in _occurrences(path):
            if isinstance(occurrence, Key):
                occurrence = self.entries.get((*full, name, occurrence), -1)
            full = (*full, name, occurrence)
            if full not in self.offsets:
                break
            found = self.offsets[full]
        return None if found is None else self._place(found)

    def names(self) -> Iterator[tuple[Path, Place]]:
        """Yield every occurrence of a field with its place, in the order of the file."""
        for path, offset in self.offsets.items():
            yield path, self._place(offset)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def _place(self, offset: int) -> Place:
        line = bisect.bisect(self._line_starts, offset)
        return Place(line, offset - self._line_starts[line - 1] + 1)


def places(text: str) -> Places:
    """Find the fields of a text; one that breaks off, or is no text format, gives what was found."""
    found = Places(text)
    _Reader(found, [*_tokens(text)]).message((), end="")
    return found


def _occurrences(path: Path) -> Iterator[tuple[Step, Step]]:
    for place, step in enumerate(path):
        if isinstance(step, str):
            after = path[place + 1] if place + 1 < len(path) else 0
            yield step, 0 if isinstance(after, str) else after


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield _Token(match[0], match.start())


class _Reader:
    def __init__(self, found: Places, tokens: list[_Token]) -> None:
        self._found = found
        self._tokens = tokens
        self._next = 0

    def message(self, path: Path, end: str) -> Mapping[str, str]:
        """Read fields until `end`; return the scalars among them, unquoted."""
        counts: dict[str, int] = {}
        scalars: dict[str, str] = {}
        while (token := self._take()) is not None and token.text != end:
            name = token.text
            if self._peek() == ":":
                self._next += 1
            if self._peek() == "[":
                self._next += 1
                while self._peek() not in ("]", ""):
                    place = self._tokens[self._next].offset
                    self._value(path, name, place, counts, scalars)
                self._take()
            else:
                self._value(path, name, token.offset, counts, scalars)
        return scalars

    def _value(
        self, path: Path, name: str, offset: int, counts: dict[str, int], scalars: dict[str, str]
    ) -> None:
        index = counts.get(name, 0)
        counts[name] = index + 1
        here: Path = (*path, name, index)
        self._found.offsets[here] = offset
        value = self._take()
        if value is None:
            return
        if len(here) > _DEEPEST:
            self._next = len(self._tokens)
        elif value.text in ("{", "<"):
            inside = self.message(here, _CLOSING[value.text])
            if "key" in inside:
                self._found.entries[(*path, name, Key(inside["key"]))] = index
        else:
            scalars[name] = value.text.strip("\"'")
            # neighbouring strings are one
            while value.text[0] in "\"'" and self._peek()[:1] in ("'", '"') and self._peek():
                self._next += 1

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _take(self) -> _Token | None:
        if self._next == len(self._tokens):
            return None
        self._next += 1
        return self._tokens[self._next - 1]
