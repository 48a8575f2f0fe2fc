"""The parser of all formats: calls are JSON objects, between marks or as the whole answer.

What is text goes on at once, but for what may yet become a mark. A call begins when its name is there and its
arguments begin; they too go on as they come. What only looked like a call is text again, unchanged.
Whitespace before the first call and after any is part of the form, and no text, unless text follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from builder.gateway.tools.calls.reader import Differs, NeedsMore, Reader, ValueEnd
from builder.gateway.tools.calls.values import Arguments, CallBegun, Event, Text

ARGUMENTS = ("arguments", "parameters")
"""What models call them: Llama 3 the latter, all others the former, and each now and then the other."""

_BESIDE = ("id", "type")


@dataclass(frozen=True)
class Marks:
    """Where calls stand: between `opening` and `closing`, "" for none.

    Where they may be `bare`, an answer may begin with one that no mark announces; then it must name a
    function that was offered, since an answer may also be JSON. `separator` may stand between two of those.
    """

    opening: str
    closing: str = ""
    bare: bool = False
    separator: str = ""


class CallParser:
    """Reads one answer.

    Args:
        marks: the form of calls.
        names: the functions that were offered.
        identify: makes the identifier of a call.
    """

    def __init__(self, marks: Marks, names: Collection[str], identify: Callable[[], str]) -> None:
        self._marks = marks
        self._names = frozenset(names)
        self._identify = identify
        self._calls = 0
        self._rest = ""
        self._state: Callable[[], bool] = self._start
        self._events: list[Event] = []
        self._between = ""
        self._listed = False
        self._marked = False
        self._end = ValueEnd()

    def feed(self, piece: str) -> list[Event]:
        """Return what the next piece of the answer makes certain."""
        self._rest += piece
        while self._rest and self._state():
            pass
        return self._taken()

    def finish(self) -> list[Event]:
        """Return what is left when the answer ends, or breaks off.

        Of a call that had begun nothing is left; what had not become one yet is text.
        """
        is_form = self._state == self._tail or (self._calls and not self._rest.strip())
        if self._rest and not is_form:
            self._events.append(Text(self._rest))
        self._rest = ""
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- states: each takes what it can of the rest, and says whether another is to look at what is left ----

    def _text(self) -> bool:
        opening = self._marks.opening
        found = self._rest.find(opening) if opening else -1
        if found >= 0:
            self._say(found)
            self._state = self._start
            return True
        self._say(len(self._rest) - _begun(opening, self._rest))
        return False

    def _start(self) -> bool:
        """Look for a call at the beginning, after another one, or at a mark in the text."""
        reader = Reader(self._rest)
        first = 0
        try:
            reader.space()
            if self._calls and self._marks.separator and reader.peek() == self._marks.separator:
                reader.at += 1
                reader.space()
            first = reader.at + 1
            self._marked = self._opened(reader)
            reader.space()
            self._listed = reader.peek() == "["
            if self._listed:
                reader.mark("[")
            self._begin(reader)
        except NeedsMore:
            return False
        except Differs:
            self._say(first)
            self._state = self._text
        return True

    def _opened(self, reader: Reader) -> bool:
        """Read the opening mark, or nothing where a call may be bare; return which it was."""
        if self._marks.opening:
            try:
                reader.mark(self._marks.opening)
                return True
            except Differs:
                pass
        if not self._marks.bare or reader.peek() not in "{[":
            raise Differs
        return False

    def _begin(self, reader: Reader) -> None:
        """Read a call up to its arguments, and tell of it."""
        name = self._head(reader)
        self._events.append(CallBegun(self._calls, self._identify(), name))
        self._calls += 1
        self._rest = self._rest[reader.at :]
        self._end = ValueEnd()
        self._state = self._arguments

    def _head(self, reader: Reader) -> str:
        reader.space()
        reader.mark("{")
        name = ""
        while True:
            reader.space()
            key = reader.word((*_BESIDE, "name", *(ARGUMENTS if name else ())))
            reader.space()
            reader.mark(":")
            reader.space()
            if key in ARGUMENTS:
                if reader.peek() != "{":
                    raise Differs
                return name
            value = reader.word(None if key != "name" or self._marked else self._names)
            name = value if key == "name" else name
            reader.space()
            reader.mark(",")

    def _arguments(self) -> bool:
        end = self._end.find(self._rest, 0)
        told = self._rest if end is None else self._rest[:end]
        if told:
            self._events.append(Arguments(self._calls - 1, told))
        self._rest = self._rest[len(told) :]
        if end is not None:
            self._state = self._tail
        return end is not None

    def _tail(self) -> bool:
        """Read the end of a call, and what leads to the next one or out of the form."""
        reader = Reader(self._rest)
        closed = 0
        try:
            self._close_object(reader)
            closed = reader.at
            more = self._follows(reader)
        except NeedsMore:
            return False
        except Differs:
            self._rest = self._rest[closed:]
            self._state = self._text
            return True
        self._between = self._rest[closed : reader.at]
        self._rest = self._rest[reader.at :]
        self._state = self._next if more else self._start
        return True

    def _close_object(self, reader: Reader) -> None:
        while True:
            reader.space()
            if reader.peek() != ",":
                break
            reader.mark(",")
            reader.space()
            reader.word(_BESIDE)
            reader.space()
            reader.mark(":")
            reader.space()
            reader.word()
        reader.mark("}")

    def _follows(self, reader: Reader) -> bool:
        """Say whether another call follows under the same mark; read what leads to it, or the end."""
        if self._listed:
            reader.space()
            if reader.peek() == ",":
                reader.mark(",")
                return True
            reader.mark("]")
        if not self._marked or not self._marks.closing:
            return False
        ended = reader.at
        reader.space()
        if not self._listed and reader.peek() == "{":
            return True
        try:
            reader.mark(self._marks.closing)
        except Differs:
            # the next mark, or text, says as well that the call is over
            reader.at = ended
        return False

    def _next(self) -> bool:
        """Look for another call under the same mark."""
        reader = Reader(self._rest)
        try:
            self._begin(reader)
        except NeedsMore:
            return False
        except Differs:
            self._rest = self._between + self._rest
            self._state = self._text
        return True

    def _say(self, size: int) -> None:
        if size:
            self._events.append(Text(self._rest[:size]))
            self._rest = self._rest[size:]


def _begun(mark: str, text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a mark."""
    sizes = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(mark[:size])), 0)
