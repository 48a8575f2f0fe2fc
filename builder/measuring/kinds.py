"""Kinds: a model streams tokens or answers once, and which figures the runs of either have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "min", "max")


@dataclass(frozen=True)
class Kind:
    """What a run of one kind tells.

    Args:
        numbers: figures that are plain numbers.
        times: figures of STATISTICS in ms, without the "_ms" that a run has them under.
        shares: the statistics that a table shows of each time.
        rate: the throughput that a report draws.
        curve: the time whose whole distribution a run keeps.
        compared: what is compared of two measurements -> whether more of it is better.
    """

    numbers: tuple[str, ...]
    times: tuple[str, ...]
    shares: tuple[str, ...]
    rate: str
    curve: str
    compared: Mapping[str, bool]


SINGLE_PASS = Kind(
    numbers=("requests", "errors", "error_rate", "requests_per_second"),
    times=("latency",),
    shares=("p50", "p90", "p99"),
    rate="requests_per_second",
    curve="latency",
    compared={
        "requests_per_second": True,
        "latency_p50": False,
        "latency_p90": False,
        "latency_p99": False,
        "cpu_pss": False,
        "gpu_memory": False,
    },
)
"""Models that answer a request with one response."""

STREAMING = Kind(
    numbers=(*SINGLE_PASS.numbers, "tokens_per_second"),
    times=("ttft", "itl", "latency"),
    shares=("p50", "p95", "p99"),
    rate="tokens_per_second",
    curve="ttft",
    compared={
        "requests_per_second": True,
        "tokens_per_second": True,
        "ttft_p50": False,
        "ttft_p95": False,
        "itl_p50": False,
        "itl_p95": False,
        "latency_p50": False,
        "latency_p95": False,
        "cpu_pss": False,
        "gpu_memory": False,
    },
)
"""Models that answer token by token."""


def kind(*, streams: bool) -> Kind:
    """Return the kind of a model that streams, or of one that does not."""
    return STREAMING if streams else SINGLE_PASS


def of(run: Mapping[str, Any]) -> Kind:
    """Return the kind of model that was asked in a run."""
    return kind(streams="ttft_ms" in run)
