"""One sequence that is held to its Guide, token by token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.grammars import refused

Logits = npt.NDArray[np.float32]

SECONDS, SECONDS_A_TOKEN = 1.0, 0.01
"""Of a processor, that a guide may take from all who run beside it; 0.0002 a token are usual."""


class Guided:
    """What one sequence may still say; used by one thread at a time.

    `matcher` is that of a Compiler, its copy for this sequence alone, of `tokens` tokens with the one that
    stands for the end; `end_ids` end the sequence. `spent` is called when the library gives the guide up.
    """

    def __init__(
        self, matcher: Any, tokens: int, end_ids: frozenset[int], spent: Callable[[], None] = lambda: None
    ) -> None:
        self._matcher = matcher
        self._tokens = tokens
        self._end_ids = list(end_ids)
        self._spent = spent
        self._seconds = SECONDS
        self._may: npt.NDArray[np.bool_] | None = None

    def is_complete(self) -> bool:
        """Return whether nothing may follow but the end, whichever tokens stand for it.

        Raises InvalidRequest when the guide has become too much work.
        """
        return bool(self._matcher.is_stopped()) or not self._allowed()[:-1].any()

    def held(self, logits: Logits) -> Logits:
        """Return a copy of logits [vocabulary] that is minus infinity wherever the guide forbids a token."""
        allowed = self._allowed()
        known = min(len(logits), len(allowed) - 1)
        found = np.full_like(logits, -np.inf)
        np.copyto(found[:known], logits[:known], where=allowed[:known])
        found[self._end_ids] = logits[self._end_ids] if allowed[-1] else -np.inf
        return found

    def take(self, token: int) -> None:
        """Take note of a token that was chosen."""
        self._may = None
        self._seconds += SECONDS_A_TOKEN
        with self._timed():
            self._matcher.consume_token(token)

    def _allowed(self) -> npt.NDArray[np.bool_]:
        """Return whether each token may come next [tokens], at last whether the end may."""
        if self._may is None:
            with self._timed():
                bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            self._may = np.unpackbits(bits, bitorder="little")[: self._tokens].view(np.bool_)
        return self._may

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Let the library work; raise InvalidRequest when it gave up, or took more than it may."""
        started = time.thread_time()
        yield
        self._seconds -= time.thread_time() - started
        if self._matcher.is_error():
            self._spent()
            raise refused(self._matcher.get_error())
        if self._seconds < 0:
            raise refused("it takes too long to tell which tokens it allows; make it less ambiguous")
