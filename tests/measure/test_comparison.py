"""Comparison: ratios of runs that were paired, and how far they spread."""

from __future__ import annotations

from typing import Any

import pytest

from builder.measuring.comparison import compare
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
    assert tokens.verdict == "better"
    assert (ttft.ratio, ttft.lowest, ttft.highest) == pytest.approx((0.5, 0.5, 1.25))
    assert ttft.verdict == "unclear"


def test_one_pair_gives_no_verdict_and_missing_figures_no_row() -> None:
    rows = compare([run(1, 0, 100, None)], [run(1, 0, 50, 3.0)])
    assert [(row.figure, row.verdict) for row in rows] == [("tokens_per_second", "one pair")]


def test_less_is_worse_for_rates_and_better_for_times() -> None:
    rows = compare(
        [run(1, 0, 100, 10), run(1, 1, 100, 10)],
        [run(1, 0, 90, 9), run(1, 1, 80, 8), run(1, 2, 1, 1), run(2, 0, 1, 1)],
    )
    assert {row.figure: row.verdict for row in rows} == {"tokens_per_second": "worse", "ttft_p50": "better"}


def test_no_common_load_is_an_error() -> None:
    with pytest.raises(MeasureError, match="no load in common"):
        compare([run(1, 0, 1, 1)], [run(2, 0, 1, 1)])
