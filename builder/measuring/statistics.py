"""Numbers from what was heard: rates over the window of a run, times of its measured requests.

Percentiles are nearest-rank: the smallest value that at least that share of all does not exceed, so
each is a time that somebody really waited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.measuring.door import Answer
from builder.measuring.told import Asked, Told

Values = npt.NDArray[np.float64]

PERCENTILES = (50, 90, 95, 99)
CURVE = 51
"""Points of the distribution that a report draws."""
MOST_MESSAGES = 20
LONGEST_MESSAGE = 300


def percentile(values: Sequence[float] | Values, share: float, weights: Values | None = None) -> float:
    """Return the nearest-rank percentile of values that each count `weights` times; share is 0 to 100."""
    sample = np.asarray(values, dtype=np.float64)
    order = np.argsort(sample, kind="stable")
    counted = np.ones(len(sample)) if weights is None else weights[order]
    reached = np.cumsum(counted)
    # the tolerance is for shares that are no exact binary fractions
    place = np.searchsorted(reached, share / 100 * reached[-1] - 1e-9 * reached[-1])
    return float(sample[order[min(int(place), len(sample) - 1)]])


def summary(values: Sequence[float] | Values, weights: Values | None = None) -> dict[str, float] | None:
    """Return mean, p50, p90, p95, p99, min and max, None of nothing; values in s are returned in ms."""
    if not len(values):
        return None
    sample = np.asarray(values, dtype=np.float64) * 1000
    found = {"mean": float(np.average(sample, weights=weights))}
    found |= {f"p{share}": percentile(sample, share, weights) for share in PERCENTILES}
    found |= {"min": float(sample.min()), "max": float(sample.max())}
    return {name: round(value, 3) for name, value in found.items()}


def gaps(answer: Answer) -> tuple[list[float], list[float]]:
    """Return the seconds between tokens, and how often each counts.

    A response that carries k tokens dt after the one before it counts as k gaps of dt / k.
    """
    seconds = [
        (after - before) / tokens
        for before, after, tokens in zip(answer.seconds, answer.seconds[1:], answer.tokens[1:], strict=False)
    ]
    return seconds, answer.tokens[1:]


def describe(told: Told, *, streams: bool = True) -> dict[str, Any]:
    """Return one run as the measurement holds it, without what only the server knows.

    Rates count what arrived between the run's start and the end of its last measured request, also
    of requests that were not measured. All else is of measured requests. Without `streams` an answer is
    one response: of tokens nothing is said.
    """
    measured = [asked for asked in told.requests if asked.measured]
    answered = [asked for asked in measured if not asked.error]
    latency = [asked.last - asked.due for asked in answered if asked.last is not None]
    errors = [asked.error[:LONGEST_MESSAGE] for asked in measured if asked.error]
    seconds = max(told.ended - told.started, 0.0)
    rates, times = _streamed(told, answered) if streams else _whole(told, latency)
    return {
        "seconds": round(seconds, 3),
        "requests": len(measured),
        "errors": len(errors),
        "error_rate": round(len(errors) / len(measured), 6) if measured else 0.0,
        "error_messages": dict(Counter(errors).most_common(MOST_MESSAGES)),
        **{name: round(count / seconds, 4) if seconds else 0.0 for name, count in rates.items()},
        "latency_ms": summary(latency),
        **times,
        "sent_late_ms": summary([asked.sent - asked.due for asked in measured if asked.sent]),
        "generator_cpu_share": told.cpu_share,
        **({"gave_up": told.gave_up} if told.gave_up else {}),
    }


def _whole(told: Told, latency: list[float]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return how many answers were there within the run, and the distribution of their latency."""
    moments = [asked.last for asked in told.requests if asked.last is not None and not asked.error]
    count = sum(told.started <= moment <= told.ended for moment in moments)
    return {"requests_per_second": count}, {"distribution": {"latency_ms": _curve(latency)}}


def _streamed(told: Told, answered: Sequence[Asked]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the tokens within the run, their times and numbers.

    The requests are those tokens over the tokens of a mean answer, so that answers which were under way
    count in part.
    """
    begun = [asked for asked in answered if asked.answer.seconds]
    ttft = [asked.answer.seconds[0] - asked.due for asked in begun]
    lengths = [sum(asked.answer.tokens) for asked in answered]
    tokens = sum(_within(asked, told) for asked in told.requests)
    mean = float(np.mean(lengths)) if lengths else 0.0
    return {"requests_per_second": tokens / mean if mean else len(answered), "tokens_per_second": tokens}, {
        "ttft_ms": summary(ttft),
        "itl_ms": _weighted([gaps(asked.answer) for asked in begun]),
        "input_tokens": _mean([asked.answer.input_tokens for asked in answered]),
        "output_tokens": _mean(lengths),
        "distribution": {"ttft_ms": _curve(ttft)},
    }


def _within(asked: Asked, told: Told) -> float:
    """Return the tokens that arrived within the window; of an answer that failed, none."""
    if asked.error and asked.measured:
        return 0.0
    pairs = zip(asked.answer.seconds, asked.answer.tokens, strict=True)
    return sum(tokens for at, tokens in pairs if told.started <= at <= told.ended)


def _weighted(between: list[tuple[list[float], list[float]]]) -> dict[str, float] | None:
    values = [value for seconds, _ in between for value in seconds]
    return summary(values, np.array([count for _, counts in between for count in counts]))


def _mean(counts: Sequence[float | None]) -> dict[str, float] | None:
    known = [count for count in counts if count is not None]
    return {"mean": round(float(np.mean(known)), 2)} if known else None


def _curve(values: list[float]) -> list[float]:
    """Return all values in ms, or evenly spaced percentiles of many, from the smallest to the largest."""
    sample = np.sort(np.array(values) * 1000)
    if len(sample) > CURVE:
        sample = sample[np.linspace(0, len(sample) - 1, CURVE).round().astype(int)]
    return [round(float(value), 3) for value in sample]
