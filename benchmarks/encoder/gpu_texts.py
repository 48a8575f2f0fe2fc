"""Texts of exactly so many tokens, runs of words of passages.txt, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from encoder import texts

NUMBER = 1024
_SEED = 20261122


def of(tokenizer: Path, tokens: int) -> list[str]:
    """Return NUMBER texts of `tokens` tokens, those that the tokenizer adds included; some may be alike."""
    words = " ".join(texts.passages()).split()
    count = texts.counter(tokenizer)
    added = count("")
    costs = [count(word) - added for word in words]
    runs = list(_fitting(costs, tokens - added))
    drawn = random.Random(_SEED)
    return [" ".join(words[first:end]) for first, end in (drawn.choice(runs) for _ in range(NUMBER))]


def _fitting(costs: list[int], tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (first word, word after the last) of all runs whose tokens are exactly so many."""
    for start in range(len(costs)):
        left, end = tokens, start
        while left > 0 and end < len(costs):
            left -= costs[end]
            end += 1
        if left == 0:
            yield start, end
