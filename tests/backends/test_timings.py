"""What clients waited for, against sums by hand, and as Prometheus reads it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from processes import until

from backends.engine.protocol import Health
from backends.front.metrics import Metrics
from backends.front.timings import Histogram, Stopwatch, Timings


def test_a_histogram_counts_what_took_at_most_each_bound() -> None:
    histogram = Histogram((0.1, 1, math.inf))
    for seconds in (0.05, 0.1, 0.5, 70.0):
        histogram.observe(seconds)
    histogram.observe(0.25, times=4)
    counts, total = histogram.read()
    assert counts == [2, 7, 8]
    assert total == pytest.approx(0.05 + 0.1 + 0.5 + 70 + 1)


def test_tokens_that_come_together_share_the_time_between_them() -> None:
    timings = Timings()
    stopwatch = Stopwatch(timings, arrived=10.0, prompt_tokens=7)
    stopwatch.note(10.0, 0, 0.25)
    stopwatch.note(10.5, 2, None)
    stopwatch.note(10.8, 3, None)
    assert timings.queue.read()[1] == 0.25
    assert timings.first_token.read()[1] == pytest.approx(0.5)
    counts, total = timings.inter_token.read()
    assert (counts[-1], total) == (3, pytest.approx(0.3))
    assert counts[timings.inter_token.bounds.index(0.2)] == 3
    assert counts[timings.inter_token.bounds.index(0.05)] == 0
    assert timings.prompt_tokens == 7


def test_what_brings_no_token_is_not_waited_for() -> None:
    timings = Timings()
    Stopwatch(timings, 0.0, 7).note(5.0, 0, None)
    assert timings.first_token.read() == ([0] * len(timings.first_token.bounds), 0.0)
    assert timings.prompt_tokens == 0


# -- Triton's side ----------------------------------------------------------------------------------------


@dataclass
class Shown:
    """What Triton would publish: kind of each family, value of each metric."""

    kinds: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def family(self, name: str, description: str, kind: str) -> Any:
        self.kinds[name] = kind
        shown = self.values

        class Metric:
            def __init__(self, labels: dict[str, str]) -> None:
                assert labels["model"] == "m"
                self.key = name, labels.get("le", "")
                shown[self.key] = 0.0

            def set(self, value: float) -> None:
                shown[self.key] = value

            def increment(self, value: float) -> None:
                assert value > 0
                shown[self.key] += value

        class Family:
            def Metric(self, labels: dict[str, str]) -> Metric:
                return Metric(labels)

        return Family()


@pytest.fixture
def shown() -> Shown:
    return Shown()


def publish(shown: Shown, health: Callable[[], Health], timings: Timings) -> Metrics:
    class MetricFamily:
        COUNTER, GAUGE = "counter", "gauge"

        def __new__(cls, **given: str) -> Any:
            return shown.family(**given)

    class Utilities:
        pass

    Utilities.MetricFamily = MetricFamily  # type: ignore[attr-defined]
    return Metrics(Utilities, "m", health, timings)


def test_histograms_are_counters_by_the_names_that_prometheus_expects(shown: Shown) -> None:
    timings = Timings()
    health = Health(active=0, waiting=0, steps=9, generated_tokens=4, cancelled=0, cache_used=0.5)
    metrics = publish(shown, lambda: health, timings)
    timings.queue.observe(0.5)
    name = "builder_request_queue_seconds"
    until(lambda: shown.values[f"{name}_count", ""] == 1)
    timings.queue.observe(20.0)
    metrics.close()
    assert shown.values[f"{name}_bucket", "0.1"] == 0
    assert shown.values[f"{name}_bucket", "0.5"] == 1
    assert shown.values[f"{name}_bucket", "+Inf"] == shown.values[f"{name}_count", ""] == 2
    assert shown.values[f"{name}_sum", ""] == 20.5
    assert shown.kinds[f"{name}_bucket"] == "counter"
    assert shown.values["builder_engine_steps_total", ""] == 9
    assert shown.values["builder_engine_cache_used_ratio", ""] == 0.5


def test_a_load_that_changes_is_seen_before_the_histograms_are(shown: Shown) -> None:
    timings, counted = Timings(), iter(range(1, 10**9))

    def health() -> Health:
        return Health(active=next(counted), waiting=0, steps=0, generated_tokens=0, cancelled=0)

    metrics = publish(shown, health, timings)
    end = time.monotonic() + 5
    changes: set[float] = set()
    timings.queue.observe(0.5)
    while not shown.values["builder_request_queue_seconds_count", ""] and time.monotonic() < end:
        changes.add(shown.values["builder_engine_active_requests", ""])
    metrics.close()
    assert len(changes) > 3
