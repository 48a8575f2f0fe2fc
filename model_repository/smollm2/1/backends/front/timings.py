"""How long clients waited, counted in the buckets of Prometheus (prometheus.io, concepts, metric types)."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

FIRST_TOKEN = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, math.inf)
INTER_TOKEN = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, math.inf)
QUEUE = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, math.inf)
"""Upper ends of the buckets in seconds: an answer in no time to one that nobody waits for."""


class Histogram:
    """Observations in seconds; safe from any thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._counts = [0] * len(self.bounds)
        self._sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a wait, `times` over where it was the mean of several."""
        with self._lock:
            self._counts[bisect_left(self.bounds, seconds)] += times
            self._sum += seconds * times

    def read(self) -> tuple[list[int], float]:
        """Return how many took at most each bound, and the sum of all in seconds."""
        with self._lock:
            return list(accumulate(self._counts)), self._sum


class Timings:
    """Of the answers of one model: seconds from a request's arrival to the first token of a sequence, from
    one token to the next as they were passed on, and in the engine's line; and how long the prompts were."""

    def __init__(self) -> None:
        self.first_token = Histogram(FIRST_TOKEN)
        self.inter_token = Histogram(INTER_TOKEN)
        self.queue = Histogram(QUEUE)
        self.prompt_tokens = 0


class Stopwatch:
    """Times one sequence of a request that came at `arrived`, on the clock of time.monotonic()."""

    def __init__(self, timings: Timings, arrived: float, prompt_tokens: int) -> None:
        self._timings = timings
        self._last = arrived
        self._prompt_tokens = prompt_tokens
        self._begun = False

    def note(self, now: float, tokens: int, waited: float | None) -> None:
        """Note tokens that came together: each took an equal share of the time since those before."""
        if waited is not None:
            self._timings.queue.observe(waited)
        if not tokens:
            return
        passed, self._last = now - self._last, now
        if not self._begun:
            self._begun = True
            self._timings.first_token.observe(passed)
            self._timings.prompt_tokens += self._prompt_tokens
        else:
            self._timings.inter_token.observe(passed / tokens, tokens)
