"""Comparison: ratios of runs that were paired, and how far they spread."""

from __future__ import annotations

from typing import Any

import pytest

from builder.measure import Measurement
from builder.measuring.comparison import compare, differences
from builder.measuring.errors import MeasureError


def run(concurrency: int, repeat: int, tokens: float, ttft: float | None) -> dict[str, Any]:
    return {
        "load": {"kind": "closed", "concurrency": concurrency},
        "repeat": repeat,
        "tokens_per_second": tokens,
        "ttft_ms": None if ttft is None else {"p50": ttft},
        "memory": {"cpu_mb": {}, "gpu_mb": {}},
    }


def test_ratios_by_hand() -> None:
    first = [run(4, 0, 100, 50), run(4, 1, 200, 40), run(4, 2, 100, 40)]
    second = [run(4, 0, 150, 25), run(4, 1, 220, 50), run(4, 2, 120, 20)]
    rows = {row.figure: row for row in compare(first, second)}
    tokens, ttft = rows["tokens_per_second"], rows["ttft_p50"]
    assert (tokens.first, tokens.second, tokens.pairs) == (100, 150, 3)
    assert (tokens.ratio, tokens.lowest, tokens.highest) == pytest.approx((1.2, 1.1, 1.5))
    # every pair agrees, but each side's repeats lie further apart than the medians
    assert tokens.verdict == "within noise"
    assert (ttft.ratio, ttft.lowest, ttft.highest) == pytest.approx((0.5, 0.5, 1.25))
    assert ttft.verdict == "within noise"


@pytest.mark.parametrize("pairs", [1, 2])
def test_few_repeats_give_no_verdict(pairs: int) -> None:
    first, second = ([run(1, number, rate, None) for number in range(pairs)] for rate in (100, 200))
    assert {row.verdict for row in compare(first, second)} == {"too few repeats"}


def test_one_pair_gives_no_verdict_and_missing_figures_no_row() -> None:
    rows = compare([run(1, 0, 100, None)], [run(1, 0, 50, 3.0)])
    assert [(row.figure, row.verdict) for row in rows] == [("tokens_per_second", "too few repeats")]


def test_less_is_worse_for_rates_and_better_for_times() -> None:
    rows = compare(
        [run(1, 0, 100, 10), run(1, 1, 100, 10), run(1, 2, 101, 9.9)],
        [run(1, 0, 90, 8), run(1, 1, 88, 8), run(1, 2, 89, 8.1), run(1, 3, 1, 1), run(2, 0, 1, 1)],
    )
    assert {row.figure: row.verdict for row in rows} == {"tokens_per_second": "worse", "ttft_p50": "better"}


def once(repeat: int, requests: float, p90: float) -> dict[str, Any]:
    """Return a run of a model that answers once."""
    found = run(4, repeat, 0, None)
    del found["tokens_per_second"], found["ttft_ms"]
    return {**found, "requests_per_second": requests, "latency_ms": {"p50": 1.0, "p90": p90, "p99": 9.0}}


def test_models_that_answer_once_are_compared_by_what_they_have() -> None:
    first, second = ([once(repeat, rate, p90) for repeat in range(3)] for rate, p90 in ((100, 4), (150, 2)))
    rows = {row.figure: (row.ratio, row.verdict) for row in compare(first, second)}
    assert rows == {
        "requests_per_second": (1.5, "better"),
        "latency_p50": (1.0, "within noise"),
        "latency_p90": (0.5, "better"),
        "latency_p99": (1.0, "within noise"),
    }


def test_with_a_model_that_streams_only_the_shared_is_compared() -> None:
    streaming = {**run(4, 0, 100, 10), "requests_per_second": 50.0, "latency_ms": {"p50": 2.0}}
    for pair in ([streaming], [once(0, 100, 4)]), ([once(0, 100, 4)], [streaming]):
        assert [row.figure for row in compare(*pair)] == ["requests_per_second", "latency_p50"]


def test_no_common_load_is_an_error() -> None:
    with pytest.raises(MeasureError, match="no load in common"):
        compare([run(1, 0, 1, 1)], [run(2, 0, 1, 1)])


def measurement(*, door: str = "grpc", requests: int = 8, salt: str = "a", **settings: Any) -> Measurement:
    runs = [{**run(1, 0, 1, 1), "requests": requests}, {**run(requests, 0, 1, 1), "requests": requests}]
    given = {"output_tokens": 32, "seconds": 0.0, "fields": {"max_tokens": 32}, **settings, "salt": salt}
    return Measurement("m", door, "", "", "", {}, given, tuple(runs))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (measurement(salt="b"), []),
        (measurement(repeats=3, model="n"), []),
        (measurement(output_tokens=64, fields={"max_tokens": 64}), ["output_tokens: 32 and 64"]),
        (measurement(requests=16), ["requests at 1 at once: 8 and 16"]),
        (measurement(requests=16, seconds=5.0), ["seconds: none and 5.0"]),
        (measurement(salt=""), ["marks: true and false"]),
        (measurement(fields={"max_tokens": 32, "top_k": 1}), ["top_k: none and 1"]),
        (measurement(fields={"top_k": 1}, door="openai"), []),
    ],
)
def test_settings_that_differ_are_named(other: Measurement, named: list[str]) -> None:
    assert differences(measurement(), other) == named
