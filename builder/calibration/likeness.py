"""How unlike the texts of two files are, in numbers: by how often each has every word and sign.

Words stand for tokens, so that it is known before a model or its tokenizer is at hand, and is the same for
every model; token ids do as well. The figure is the Jensen-Shannon divergence to the base 2 (Lin, "Divergence
measures based on the Shannon entropy", 1991): 0 for equal shares of all, 1 where nothing is in both.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain

LEAST = 500
"""Pieces on each side of a comparison. Of fewer, what one text is about outweighs what it is written in."""

UNLIKE = 0.3
"""Beyond it texts are of another kind. Seen are 0.27 at most between chats and 0.24 between programs of other
authors; 0.34 to 0.39 between English chats and English prose, 0.47 and more between chats and programs, 0.75
between English and German, 0.89 between chats and random tokens."""

NO_LANGUAGE = 0.75
"""Divergence of a text's own halves beyond which it is of no language. Seen are 0.16 to 0.54 of prose, chats
and programs in a dozen languages, 0.87 of random tokens, however many, 0.98 of random letters."""

_LARGEST, _SHARE, _ROUNDS = 20_000, 2_000, 16

_PIECE = re.compile(r"[\u0e00-\uffff]|[^\W\d_]+|\d|[^\w\s]|_|\n[ \t]*")
"""A letter of the scripts that write no spaces (from Thai on, Chinese and Japanese among them), a word, a
digit, a sign, or how a line begins, which tells a program from prose."""

Pieces = Sequence[Hashable]


@dataclass(frozen=True)
class Likeness:
    """Divergences in bits: `across` the two, and `within` the workload, between halves of its own texts.

    Both are of samples of `pieces` pieces, so that what is small is not taken for what is unlike.
    """

    across: float
    within: float
    pieces: int

    @property
    def unlike(self) -> float:
        """The share of the way from a half of the workload, 0, to what has no piece of it, 1."""
        return max(0.0, (self.across - self.within) / (1 - self.within)) if self.within < 1 else 0.0

    @property
    def is_judged(self) -> bool:
        """Whether there was enough to compare."""
        return self.pieces >= LEAST


def pieces(text: str) -> list[str]:
    """Return the words and signs of a text, capital letters as small ones."""
    return _PIECE.findall(text.lower())


def compare(texts: Sequence[Pieces], workload: Sequence[Pieces]) -> Likeness:
    """Return how unlike texts are to those of a workload; the same files give the same numbers.

    Args:
        texts: each as its pieces, or its token ids.
        workload: likewise. Whole texts are put into its halves, so that what each is about counts as its own.
    """
    order = random.Random(0)
    ours, theirs = _sample(texts, _LARGEST, order), _sample(workload, 2 * _LARGEST, order)
    size = min(sum(map(len, ours)), sum(map(len, theirs)) // 2)
    across, within = [], []
    for _ in range(_ROUNDS if size else 0):
        own, halves = _mixed(ours, order), _mixed(theirs, order)
        first, second = halves[: len(halves) // 2][:size], halves[len(halves) // 2 :][:size]
        within.append(divergence(first, second))
        across += [divergence(own[:size], first), divergence(own[:size], second)]
    return Likeness(_mean(across), _mean(within), size)


def divergence(first: Pieces, second: Pieces) -> float:
    """Return the divergence of how often two texts have each piece, in bits; neither is empty."""
    one, other = Counter(first), Counter(second)
    terms = []
    for piece in one.keys() | other.keys():
        p, q = one[piece] / len(first), other[piece] / len(second)
        terms += [share * math.log2(2 * share / (p + q)) for share in (p, q) if share]
    # exact, so that the order of a set does not show
    return math.fsum(terms) / 2


def disorder(texts: Sequence[Pieces]) -> float:
    """Return how far two halves of the pieces diverge, whichever are in each, 0 of fewer than `LEAST`.

    What people write repeats itself. Of more than 2,000 pieces so many are taken: the more there are, the
    smaller it is, of random tokens too. They are taken at random: texts of one form have a rhythm.
    """
    found = list(chain.from_iterable(texts))
    if len(found) < LEAST:
        return 0.0
    taken = random.Random(0).sample(found, min(len(found), _SHARE))
    return divergence(taken[: len(taken) // 2], taken[len(taken) // 2 :])


def _sample(texts: Sequence[Pieces], size: int, order: random.Random) -> list[Pieces]:
    """Return whole texts at random until they have so many pieces."""
    found: list[Pieces] = []
    total = 0
    for text in order.sample(texts, len(texts)):
        if total >= size:
            break
        found.append(text)
        total += len(text)
    return found


def _mixed(texts: Sequence[Pieces], order: random.Random) -> list[Hashable]:
    return list(chain.from_iterable(order.sample(texts, len(texts))))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
