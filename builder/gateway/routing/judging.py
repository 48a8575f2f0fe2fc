"""Whether a canary has become worse than the model beside it: a decision about figures, nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.gateway.routing.route import Canary

ACCURACY = 0.01
"""Of a latency as it is kept, relative: a sketch of logarithmic buckets (DDSketch, arXiv:1908.10693)."""
_STEP = math.log((1 + ACCURACY) / (1 - ACCURACY))
_SHORTEST = 1e-6


def bucket(seconds: float) -> int:
    """Return the bucket that a latency is counted in."""
    return math.ceil(math.log(max(seconds, _SHORTEST)) / _STEP)


def seconds(bucket: int) -> float:
    """Return the latency that a bucket stands for, off by ACCURACY of it at the most."""
    return 2 * math.exp(bucket * _STEP) / (math.exp(_STEP) + 1)


@dataclass
class Tally:
    """What one model answered in the window.

    Args:
        latencies: by kind of request, as those of two kinds cannot be compared: bucket -> answers.
    """

    answers: int = 0
    failures: int = 0
    latencies: dict[str, Counter[int]] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Return the share of failures."""
        return self.failures / self.answers if self.answers else 0.0


def worse(terms: Canary, canary: Tally, stable: Tally) -> str | None:
    """Return what a canary is taken back for, None while it may stay."""
    # answers that have yet to come are taken for good ones: few failures of few are no reason
    rate = canary.failures / max(canary.answers, terms.min_answers)
    if rate > terms.max_error_rate + stable.error_rate:
        return (
            f"{canary.failures} of its {canary.answers} answers failed,"
            f" {stable.failures} of {stable.answers} of the other's"
        )
    for kind, latencies in sorted(canary.latencies.items()):
        beside = stable.latencies.get(kind, Counter())
        if min(latencies.total(), beside.total()) < terms.min_answers:
            continue
        own, other = median(latencies), median(beside)
        if own > other * terms.max_latency_ratio:
            return f"its median latency is {own:.2g} s, the other's {other:.2g} s ({kind})"
    return None


def median(latencies: Mapping[int, int]) -> float:
    """Return the lower median of counted latencies, of which there must be one, in seconds."""
    half = (sum(latencies.values()) + 1) // 2
    for place in sorted(latencies):
        half -= latencies[place]
        if half <= 0:
            return seconds(place)
    raise ValueError("there is no latency")
