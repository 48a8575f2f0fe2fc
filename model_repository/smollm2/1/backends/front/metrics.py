"""The engine's counters among Triton's own metrics, so that anyone can see what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from backends.engine.protocol import Health
from backends.front.timings import Histogram, Timings

SECONDS_BETWEEN_LOOKS = 0.05
LOOKS_BETWEEN_COUNTS = 10
"""While requests run on, what only grows is published every so many looks."""


# name -> (kind, description, the value in Health)
_FAMILIES: dict[str, tuple[str, str, Callable[[Health], float]]] = {
    "builder_engine_active_requests": ("GAUGE", "sequences being generated", lambda health: health.active),
    "builder_engine_waiting_requests": (
        "GAUGE",
        "sequences waiting for a place",
        lambda health: health.waiting,
    ),
    "builder_engine_steps_total": ("COUNTER", "turns of single sequences", lambda health: health.steps),
    "builder_engine_generated_tokens_total": (
        "COUNTER",
        "tokens generated",
        lambda health: health.generated_tokens,
    ),
    "builder_engine_cancelled_total": ("COUNTER", "sequences cancelled", lambda health: health.cancelled),
    "builder_engine_cache_used_ratio": (
        "GAUGE",
        "share of the KV cache that running sequences hold",
        lambda health: health.cache_used,
    ),
    "builder_engine_prefix_queried_tokens_total": (
        "COUNTER",
        "prompt tokens looked up in the prefix cache",
        lambda health: health.prefix_queries,
    ),
    "builder_engine_prefix_found_tokens_total": (
        "COUNTER",
        "prompt tokens found there",
        lambda health: health.prefix_hits,
    ),
    "builder_engine_up": (
        "GAUGE",
        "0 while the engine has failed and is started again",
        lambda health: float(health.failure is None),
    ),
}

_PROMPTS = "builder_request_prompt_tokens_total"

# name -> (description, the histogram in Timings)
_HISTOGRAMS: dict[str, tuple[str, Callable[[Timings], Histogram]]] = {
    "builder_request_first_token_seconds": (
        "from a request's arrival to the first token of an answer",
        lambda timings: timings.first_token,
    ),
    "builder_request_inter_token_seconds": (
        "from one token of an answer to the next",
        lambda timings: timings.inter_token,
    ),
    "builder_request_queue_seconds": (
        "in the engine's line, before the prompt is read",
        lambda timings: timings.queue,
    ),
}


class Board:
    """Triton's side: one metric for each name and set of labels, set to a value if that has changed."""

    def __init__(self, utilities: Any, model: str) -> None:
        self._utilities = utilities
        self._labels = {"model": model}
        self._families: dict[str, Any] = {}
        self._metrics: dict[tuple[str, str], Any] = {}
        self._published: dict[tuple[str, str], float] = {}

    def declare(self, name: str, kind: str, description: str, bounds: tuple[str, ...] = ("",)) -> None:
        """Make a family and its metrics, one for each bound of a histogram's buckets."""
        # Triton forgets a family nobody holds, even while its metrics are in use
        family = self._families[name] = self._utilities.MetricFamily(
            name=name, description=description, kind=getattr(self._utilities.MetricFamily, kind)
        )
        for bound in bounds:
            labels = {**self._labels, "le": bound} if bound else self._labels
            self._metrics[name, bound] = family.Metric(labels=labels)

    def show(self, name: str, value: float, bound: str = "") -> None:
        """Publish a value, unless it is there already: a metric call crosses processes."""
        before = self._published.get((name, bound), 0.0)
        if value == before:
            return
        metric = self._metrics[name, bound]
        if name.endswith(_GROWING):
            metric.increment(value - before)
        else:
            metric.set(value)
        self._published[name, bound] = value


_GROWING = ("_total", "_bucket", "_sum", "_count")


class Metrics:
    """Publishes when something changed, from a thread of its own."""

    def __init__(self, utilities: Any, model: str, health: Callable[[], Health], timings: Timings) -> None:
        self._health = health
        self._timings = timings
        self._board = Board(utilities, model)
        for name, (kind, description, _) in _FAMILIES.items():
            self._board.declare(name, kind, description)
        self._board.declare(_PROMPTS, "COUNTER", "tokens of the prompts that were answered")
        for name, (description, histogram_of) in _HISTOGRAMS.items():
            bounds = tuple(_bounds(histogram_of(timings)))
            # Triton 2.51 offers Python models no histograms; a histogram is counters by these names
            self._board.declare(f"{name}_bucket", "COUNTER", description, bounds)
            self._board.declare(f"{name}_sum", "COUNTER", description)
            self._board.declare(f"{name}_count", "COUNTER", description)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish_until_closed, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish a last time and end the thread."""
        self._ended.set()
        self._thread.join()

    def _publish_until_closed(self) -> None:
        load, looks = (0, 0), 0
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            health = self._health()
            before, load = load, (health.active, health.waiting)
            looks += 1
            slow = looks % LOOKS_BETWEEN_COUNTS == 0
            runs_on = any(load) and load == before
            if slow or not runs_on:
                self._publish_health(health)
            if slow or not any(load):
                self._publish_timings()
        self._publish_health(self._health())
        self._publish_timings()

    def _publish_health(self, health: Health) -> None:
        for name, (_, _, value_of) in _FAMILIES.items():
            self._board.show(name, value_of(health))

    def _publish_timings(self) -> None:
        self._board.show(_PROMPTS, self._timings.prompt_tokens)
        for name, (_, histogram_of) in _HISTOGRAMS.items():
            histogram = histogram_of(self._timings)
            counts, total = histogram.read()
            for bound, count in zip(_bounds(histogram), counts, strict=True):
                self._board.show(f"{name}_bucket", count, bound)
            self._board.show(f"{name}_sum", total)
            self._board.show(f"{name}_count", counts[-1])


def _bounds(histogram: Histogram) -> Iterator[str]:
    """Yield the values of `le`, which Prometheus wants as "+Inf" for the last."""
    for bound in histogram.bounds:
        yield "+Inf" if bound == float("inf") else f"{bound:g}"
