"""The engine's counters among Triton's own metrics, so that anyone can see what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from backends.engine.protocol import Health

SECONDS_BETWEEN_LOOKS = 0.05
LOOKS_BETWEEN_COUNTS = 10
"""While the same number of requests runs on, what only grows is published every so many looks."""


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


class Metrics:
    """Publishes when something changed, from a thread of its own: a metric call crosses processes."""

    def __init__(self, utilities: Any, model: str, health: Callable[[], Health]) -> None:
        self._health = health
        self._published: dict[str, float] = {}
        self._families = {}
        self._metrics = {}
        for name, (kind, description, _) in _FAMILIES.items():
            # Triton forgets a family nobody holds, even while its metrics are in use
            self._families[name] = utilities.MetricFamily(
                name=name, description=description, kind=getattr(utilities.MetricFamily, kind)
            )
            self._metrics[name] = self._families[name].Metric(labels={"model": model})
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
            runs_on = any(load) and load == before
            if not runs_on or looks % LOOKS_BETWEEN_COUNTS == 0:
                self._publish(health)
        self._publish(self._health())

    def _publish(self, health: Health) -> None:
        for name, (kind, _, value_of) in _FAMILIES.items():
            value, before = value_of(health), self._published.get(name, 0)
            if value == before:
                continue
            if kind == "GAUGE":
                self._metrics[name].set(value)
            else:
                self._metrics[name].increment(value - before)
            self._published[name] = value
