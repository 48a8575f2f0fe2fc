"""Which type each part of a model gets, so that all of them fit into a budget and the least is lost."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)


@dataclass(frozen=True)
class Choice:
    """A type that a part may have: its bytes, and what is lost by it, in nats of mean KL divergence."""

    kind: str
    size: int
    loss: float


@dataclass(frozen=True)
class Fitted(Generic[Place]):
    """`kinds` of all parts, their bytes together, and what is lost by all of them."""

    kinds: Mapping[Place, str]
    size: int
    loss: float


def fit(parts: Mapping[Place, Sequence[Choice]], budget: int) -> Fitted[Place] | None:
    """Return the types that lose least within `budget` bytes; None where even the smallest are too large.

    What parts lose is added up, as if none changed what another's rounding costs. Every part begins with its
    smallest type, and whichever step saves most of the loss for its bytes is taken first, of those that still
    fit: the choices between which no mixture of two others is better.
    """
    ladders = {place: _ladder(choices) for place, choices in parts.items()}
    steps = dict.fromkeys(ladders, 0)
    size = sum(ladder[0].size for ladder in ladders.values())
    if size > budget:
        return None
    waiting = [(-_gain(ladder, 0), number, place) for number, (place, ladder) in enumerate(ladders.items())]
    heapq.heapify(waiting)
    while waiting:
        gain, number, place = heapq.heappop(waiting)
        ladder, step = ladders[place], steps[place]
        if gain >= 0:
            break
        further = ladder[step + 1].size - ladder[step].size
        if size + further > budget:
            continue
        size += further
        steps[place] += 1
        heapq.heappush(waiting, (-_gain(ladder, step + 1), number, place))
    chosen = {place: ladder[steps[place]] for place, ladder in ladders.items()}
    loss = sum(choice.loss for choice in chosen.values())
    return Fitted({place: choice.kind for place, choice in chosen.items()}, size, loss)


def _ladder(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices of a part, smallest first; each step gains less for a byte than the one before."""
    found: list[Choice] = []
    for choice in sorted(choices, key=lambda one: (one.size, one.loss)):
        if found and choice.loss >= found[-1].loss:
            continue
        while len(found) > 1 and _slope(found[-1], choice) >= _slope(found[-2], found[-1]):
            found.pop()
        found.append(choice)
    return found


def _slope(one: Choice, other: Choice) -> float:
    """Return what the step from one to the other, which is larger and loses less, gains for a byte."""
    return (one.loss - other.loss) / (other.size - one.size) if other.size > one.size else float("inf")


def _gain(ladder: Sequence[Choice], step: int) -> float:
    return _slope(ladder[step], ladder[step + 1]) if step + 1 < len(ladder) else 0.0
