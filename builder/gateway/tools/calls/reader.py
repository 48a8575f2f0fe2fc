"""A reader of text that may not all be there yet: it matches, or it differs, or it needs more to tell."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\.)*)("?)', re.DOTALL)
_STRUCTURE = re.compile(r'["{}\[\]]|[^"{}\[\]\s\w+\-.:,]')
_QUOTED = re.compile(r'["\\]')

MOST_CHARACTERS = 256
"""The longest string that is read beside the arguments: names have 64 (OpenAI's FunctionObject)."""


class NeedsMore(Exception):
    """What is there is a beginning of what is looked for."""


class Differs(Exception):
    """What is there is not, and cannot become, what is looked for."""


class Reader:
    """Reads `text` from the place `at` on; methods move it on, and raise NeedsMore or Differs."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    def space(self) -> None:
        """Skip whitespace, as JSON has it."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def peek(self) -> str:
        """Return the next character."""
        if self.at == len(self.text):
            raise NeedsMore
        return self.text[self.at]

    def mark(self, literal: str) -> None:
        """Read exactly this."""
        seen = self.text[self.at : self.at + len(literal)]
        if seen == literal:
            self.at += len(literal)
        elif literal.startswith(seen):
            raise NeedsMore
        else:
            raise Differs

    def word(self, allowed: Collection[str] | None = None) -> str:
        """Read a JSON string: one of `allowed`, or any that is not empty and not endless.

        Of those allowed it differs with the first character that none of them has.
        """
        found = _STRING.match(self.text, self.at)
        if found is None:
            self.mark('"')
            raise Differs
        if not found[2]:
            self._require_unfinished(found[1], found.end(), allowed)
            raise NeedsMore
        if len(found[1]) > MOST_CHARACTERS:
            raise Differs
        try:
            word: str = json.loads(found[0])
        except ValueError:
            raise Differs from None
        # half of a surrogate pair is no character
        if not word.isprintable() or not word or (allowed is not None and word not in allowed):
            raise Differs
        self.at = found.end()
        return word

    def _require_unfinished(self, begun: str, end: int, allowed: Collection[str] | None) -> None:
        # a backslash alone may yet become an escape
        rest = self.text[end:]
        if rest not in ("", "\\") or len(begun) > MOST_CHARACTERS:
            raise Differs
        plain = "\\" not in begun
        if allowed is not None and plain and not any(one.startswith(begun) for one in allowed):
            raise Differs


class ValueEnd:
    """Finds where a JSON object ends, piece by piece; strings may hold brackets and quotes."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def find(self, text: str, at: int) -> int | None:
        """Return where the object ends in `text`, None where it goes on beyond.

        It also ends before a character that no JSON has outside of strings.
        """
        while at < len(text):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (_QUOTED if self._quoted else _STRUCTURE).search(text, at)
            if found is None:
                return None
            at = found.end()
            if self._quoted:
                self._escaped = found[0] == "\\"
                self._quoted = self._escaped
            elif found[0] == '"':
                self._quoted = True
            elif found[0] in "{[":
                self._depth += 1
            elif found[0] in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at
            else:
                return found.start()
        return None
