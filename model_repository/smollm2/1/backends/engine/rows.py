"""What an engine asks of a model that keeps one sequence in each of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]


class Interrupted(Exception):
    """The run was ended from outside; the rows are as they were before it."""


class Rows(Protocol):
    """A model with room for `count` sequences of up to `capacity` tokens.

    `read` and `step` may raise Interrupted. Only one thread may use it, but for `interrupt`.
    """

    count: int
    capacity: int

    def close(self) -> None:
        """Free model and cache."""
        ...

    def interrupt(self) -> None:
        """End the run of another thread, or the next one when there is none."""
        ...

    def clear(self, row: int) -> None:
        """Forget the sequence of a row."""
        ...

    def read(self, row: int, ids: Sequence[int], *, every: bool) -> Logits:
        """Append ids to a row; return logits [len(ids), vocabulary] after `every` one, or after the last."""
        ...

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append a token to each of the first len(tokens) rows; return logits [len(tokens), vocabulary]."""
        ...

    def move(self, row: int, to: int, *, exchanging: bool) -> None:
        """Move the sequence of one row to another; `exchanging` keeps the one that is there, in `row`."""
        ...
