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

from builder.measuring.door import Answer, Door
from builder.measuring.load import Record, Run

Values = npt.NDArray[np.float64]
Heard = list[tuple[Record, Answer]]

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


def describe(run: Run, door: Door, *, streams: bool = True) -> dict[str, Any]:
    """Return one run as the measurement holds it, without what only the server knows.

    Rates count what arrived between the run's start and the end of its last measured request, also
    of requests that were not measured. All else is of measured requests. Without `streams` an answer is
    one response: of tokens nothing is said.
    """
    heard = [(record, _read(record, door)) for record in run.records]
    measured = [(record, answer) for record, answer in heard if record.measured]
    answered = [(record, answer) for record, answer in measured if not record.error]
    latency = [record.heard[-1][0] - record.due for record, _ in answered if record.heard]
    errors = [record.error[:LONGEST_MESSAGE] for record, _ in measured if record.error]
    seconds = run.ended - run.started
    rates, times = _streamed(run, heard, answered) if streams else _whole(run, latency)
    return {
        "seconds": round(seconds, 3),
        "requests": len(measured),
        "errors": len(errors),
        "error_rate": round(len(errors) / len(measured), 6) if measured else 0.0,
        "error_messages": dict(Counter(errors).most_common(MOST_MESSAGES)),
        **{name: round(count / seconds, 4) for name, count in rates.items()},
        "latency_ms": summary(latency),
        **times,
        "sent_late_ms": summary([record.sent - record.due for record, _ in measured if record.sent]),
        **({"gave_up": run.gave_up} if run.gave_up else {}),
    }


def _whole(run: Run, latency: list[float]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return how many answers were there within the run, and the distribution of their latency."""
    whole = [record for record in run.records if record.heard and not record.error]
    count = sum(record.heard[-1][0] <= run.ended for record in whole)
    return {"requests_per_second": count}, {"distribution": {"latency_ms": _curve(latency)}}


def _streamed(run: Run, heard: Heard, answered: Heard) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the tokens within the run, their times and numbers.

    The requests are those tokens over the tokens of a mean answer, so that answers which were under way
    count in part.
    """
    begun = [(record, answer) for record, answer in answered if answer.seconds]
    ttft = [answer.seconds[0] - record.due for record, answer in begun]
    lengths = [sum(answer.tokens) for _, answer in answered]
    tokens = sum(_within(record, answer, run.ended) for record, answer in heard)
    mean = float(np.mean(lengths)) if lengths else 0.0
    return {"requests_per_second": tokens / mean if mean else len(answered), "tokens_per_second": tokens}, {
        "ttft_ms": summary(ttft),
        "itl_ms": _weighted([gaps(answer) for _, answer in begun]),
        "input_tokens": _mean([answer.input_tokens for _, answer in answered]),
        "output_tokens": _mean(lengths),
        "distribution": {"ttft_ms": _curve(ttft)},
    }


def _read(record: Record, door: Door) -> Answer:
    """Return what was heard; only now it can be seen that it is no answer, and is written down."""
    answer = door.read(record.heard)
    record.error = record.error or answer.error
    return answer


def _within(record: Record, answer: Answer, end: float) -> float:
    """Return the tokens that arrived before the end; of an answer that failed, none."""
    failed = record.error and record.measured
    return (
        0.0
        if failed
        else sum(tokens for at, tokens in zip(answer.seconds, answer.tokens, strict=True) if at <= end)
    )


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
