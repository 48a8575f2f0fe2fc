"""Other characters in the place of those with which added tokens begin and end, in what users wrote.

A template may trim texts, join them, change their case or write them as JSON: a stand-in goes through all of
it like a letter, and no added token can begin or end with one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.text.encoding import Encoder

_STAND_INS = range(0x20000, 0x2A6E0)
"""Characters that hardly any text has (CJK extension B): none has a case, and repr() shows each as it is."""


@dataclass(frozen=True)
class Disguise:
    """What stands in for what in the texts of one chat.

    Args:
        marks: character -> the code of its stand-in, wherever it stands.
        initials: the same for those that are disguised only where they begin one of the `words`.
    """

    marks: dict[int, int]
    initials: dict[str, int]
    words: re.Pattern[str]
    _own: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own = {code: mark for mark, code in self.marks.items()}
        own |= {code: ord(initial) for initial, code in self.initials.items()}
        object.__setattr__(self, "_own", own)

    def __bool__(self) -> bool:
        """Say whether anything is disguised."""
        return bool(self._own)

    def put_on(self, value: Any) -> Any:
        """Return a value of JSON with stand-ins in its texts, at any depth."""
        if isinstance(value, str):
            text = self.words.sub(lambda match: chr(self.initials[match[0][0]]) + match[0][1:], value)
            return text.translate(self.marks)
        if isinstance(value, list):
            return [self.put_on(one) for one in value]
        if isinstance(value, dict):
            return {self.put_on(key): self.put_on(one) for key, one in value.items()}
        return value

    def taken_off(self, text: str) -> str:
        """Return a text as users wrote it, as long as before."""
        return text.translate(self._own)


class Disguises:
    """Knows the characters that need a stand-in; `written` are those that a template writes itself."""

    def __init__(self, encoder: Encoder, written: str) -> None:
        self._encoder = encoder
        self._written = frozenset(written)
        self._marks = frozenset(mark for token in encoder.added for mark in _marks(token))
        # they have nothing that could be disguised wherever it stands
        self._words = any_of([token for token in encoder.added if not _marks(token)])
        self._harmless: set[str] = set()
        """Characters with which none of them begins or ends, as far as any were asked about."""

    def of(self, texts: Sequence[str]) -> Disguise:
        """Return the disguise for what users wrote. Raises ValueError where no character is left for it."""
        used = set().union(*texts)
        marks = [character for character in used - self._harmless if self._is_mark(character)]
        initials = {match[0][0] for text in texts for match in self._words.finditer(text)}
        free = (code for code in _STAND_INS if chr(code) not in used and chr(code) not in self._written)
        codes = list(itertools.islice(free, len(marks) + len(initials)))
        if len(codes) < len(marks) + len(initials):
            raise ValueError("messages uses every character of CJK extension B, which no text does")
        return Disguise(
            {ord(mark): code for mark, code in zip(marks, codes, strict=False)},
            dict(zip(initials, codes[len(marks) :], strict=True)),
            self._words,
        )

    def _is_mark(self, character: str) -> bool:
        """Say whether an added token might begin or end with a character, as it is or once normalised."""
        is_mark = not self._marks.isdisjoint(self._encoder.normalized(character))
        if not is_mark:
            self._harmless.add(character)
        return is_mark


def strings(value: Any) -> Iterator[str]:
    """Yield the texts of a value of JSON, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from (key, *strings(one))


def any_of(tokens: Sequence[str]) -> re.Pattern[str]:
    """Return what finds any of some tokens, the first that fits."""
    # without any, a pattern that matches nothing
    return re.compile("|".join(map(re.escape, tokens)) or "(?!)")


def _marks(token: str) -> list[str]:
    """Return the characters that show where a token begins and ends; none where it has letters alone."""
    marks = [one for one in token if not one.isalnum() and not one.isspace()]
    return [marks[0], marks[-1]] if marks else []
