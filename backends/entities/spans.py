"""Scores of tokens to entities, as transformers' TokenClassificationPipeline aggregates them.

Tokens become words (not with "simple", where each token is one), each with the label and the score that the
strategy gives it; neighbouring words of one tag become an entity, which a "B-" begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backends.text.pieces import BEGINS, SPECIAL

OUTSIDE = "O"

Scores = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Words(NamedTuple):
    """For each word its label's number, its score, and the characters [begin, end) of the text."""

    labels: Numbers
    scores: Scores
    begins: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


class Entities:
    """Labels such as O, B-PER, I-PER, and one of the strategies simple, first, average and max."""

    def __init__(self, labels: Sequence[str], strategy: str) -> None:
        if strategy not in _STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}; expected one of {', '.join(_STRATEGIES)}")
        tags = [label[2:] if label[:2] in ("B-", "I-") else label for label in labels]
        self._tags = np.array([tags.index(tag) for tag in tags])
        self._first = np.array([label.startswith("B-") for label in labels])
        self._names = [label.split("-", 1)[-1] for label in labels]
        self._strategy = _STRATEGIES[strategy]

    def find(
        self, text: str, scores: Scores, offsets: npt.NDArray[np.int32], special: npt.NDArray[np.int32]
    ) -> list[dict[str, Any]]:
        """Return the entities of a text of n tokens, in its order.

        Args:
            text: what was tokenised.
            scores: float32 [n, labels], probabilities.
            offsets: int32 [n, 2], the characters [begin, end) of each token.
            special: int32 [n], what each token is: see `backends.text.pieces`.
        """
        kept = np.flatnonzero(special != SPECIAL)
        if not kept.size:
            return []
        starts = np.flatnonzero(special[kept] == BEGINS)
        if not starts.size or starts[0]:
            # what continues a word begins one where nothing is before it
            starts = np.concatenate([[0], starts])
        words = self._strategy(scores[kept], offsets[kept], starts)
        return self._grouped(text, words)

    def _grouped(self, text: str, words: Words) -> list[dict[str, Any]]:
        tags = self._tags[words.labels]
        apart = (tags[1:] != tags[:-1]) | self._first[words.labels[1:]]
        edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(tags)]
        # lists are read one by one several times faster than arrays
        labels, scores, begins, ends = (part.tolist() for part in words)
        found = []
        for first, after in pairwise(edges):
            name = self._names[labels[first]]
            if name != OUTSIDE:
                begin, end = begins[first], ends[after - 1]
                score = sum(scores[first:after]) / (after - first)
                found.append(
                    {"entity": name, "score": score, "start": begin, "end": end, "text": text[begin:end]}
                )
        return found


def _simple(scores: Scores, offsets: npt.NDArray[np.int32], starts: Numbers) -> Words:
    return Words(scores.argmax(axis=1), scores.max(axis=1), offsets[:, 0], offsets[:, 1])


def _first(scores: Scores, offsets: npt.NDArray[np.int32], starts: Numbers) -> Words:
    """A word is what its first token is."""
    return _words(scores[starts], offsets, starts)


def _average(scores: Scores, offsets: npt.NDArray[np.int32], starts: Numbers) -> Words:
    """A word is what its tokens are on average."""
    counts = np.diff(starts, append=len(scores))
    return _words(np.add.reduceat(scores, starts, axis=0) / counts[:, None], offsets, starts)


def _max(scores: Scores, offsets: npt.NDArray[np.int32], starts: Numbers) -> Words:
    """A word is what the first of its surest tokens is."""
    best = scores.max(axis=1)
    edges = [*starts.tolist(), len(scores)]
    surest = [first + int(best[first:after].argmax()) for first, after in pairwise(edges)]
    return _words(scores[surest], offsets, starts)


def _words(scores: Scores, offsets: npt.NDArray[np.int32], starts: Numbers) -> Words:
    ends = np.append(starts[1:], len(offsets)) - 1
    return Words(scores.argmax(axis=1), scores.max(axis=1), offsets[starts, 0], offsets[ends, 1])


_STRATEGIES: Mapping[str, Callable[[Scores, npt.NDArray[np.int32], Numbers], Words]] = {
    "simple": _simple,
    "first": _first,
    "average": _average,
    "max": _max,
}
