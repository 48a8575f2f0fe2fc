"""What a front says to the process of its engine, and what that answers: pickles over a socket of their own.

Both ends are this code in the same version folder, and nobody else holds the socket.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.engine.protocol import Sampling
from backends.engine.stepper import Gauges, Progress


@dataclass(frozen=True)
class Add:
    """Generate after these ids."""

    key: int
    ids: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Score:
    """Tell how likely each of these ids was."""

    key: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Abort:
    """Nobody waits for these any more."""

    keys: tuple[int, ...]


@dataclass(frozen=True)
class Heard:
    """The front has passed on one piece of news: another may follow."""


Order = Add | Score | Abort | Heard


@dataclass(frozen=True)
class Loaded:
    """The engine can be asked."""


@dataclass(frozen=True)
class News:
    """What the steps since the last news brought, at most one Progress for each sequence.

    `turns` counts the steps of each sequence. A front hears MOST_UNHEARD of these, or one of more than FEW
    sequences, then none until it says Heard: what it cannot keep up with waits where it is joined, not as a
    heap of single tokens.
    """

    progress: tuple[Progress, ...]
    gauges: Gauges
    turns: int


MOST_UNHEARD = 2
"""One that the front passes on and one that is on its way: a step that takes no longer than the passing on of
the one before it is then told by itself."""

FEW = 64
"""Sequences that several pieces of news may tell of together. The front passes these on in milliseconds; of
more, the thread that reads the second piece would hold up the one that passes on the first."""


@dataclass(frozen=True)
class Broken:
    """The engine cannot go on; its process ends after this."""

    reason: str


Answer = Loaded | News | Broken
