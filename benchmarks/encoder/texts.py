"""The texts that every row embeds: runs of words of passages.txt, each of a wanted number of tokens."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

SHORTEST, LONGEST = 5, 200
"""Tokens of a text, those that the tokenizer adds included."""

ONE_LENGTH = 64
_SEED = 20261121

Count = Callable[[str], int]
"""How many tokens a text has."""


def counter(tokenizer: Path) -> Count:
    """Return what counts the tokens of a text by a tokenizer.json, however long the text is."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(tokenizer))
    made.no_truncation()
    made.no_padding()
    return lambda text: len(made.encode(text).ids)


def mixed(number: int, count: Count) -> list[str]:
    """Return different texts of SHORTEST to LONGEST tokens, each length as likely; the same every time."""
    drawn = random.Random(_SEED)
    return _different(number, count, drawn, lambda: drawn.randint(SHORTEST, LONGEST))


def of_one_length(number: int, count: Count) -> list[str]:
    """Return different texts of exactly ONE_LENGTH tokens."""
    return _different(number, count, random.Random(_SEED + 1), lambda: ONE_LENGTH)


def passages() -> list[str]:
    """Return the passages, one a line of the file."""
    return Path(__file__).with_name("passages.txt").read_text(encoding="utf-8").splitlines()


def _different(number: int, count: Count, drawn: random.Random, length: Callable[[], int]) -> list[str]:
    words = " ".join(passages()).split()
    added = count("")
    ends = list(accumulate((count(word) - added for word in words), initial=0))
    found: dict[str, None] = {}
    while len(found) < number:
        text = _text(words, ends, drawn, length() - added)
        found[text] = None
    return list(found)


def _text(words: list[str], ends: list[int], drawn: random.Random, tokens: int) -> str:
    """Return words that follow one another and are `tokens` together, by the tokens before each word."""
    while True:
        start = drawn.randrange(len(words))
        wanted = ends[start] + tokens
        if wanted in ends:
            return " ".join(words[start : ends.index(wanted)])
