"""Figures against numbers worked by hand, percentiles against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.measuring import kinds, statistics, told
from builder.measuring.door import Answer, Heard
from builder.measuring.load import Record, Run
from builder.prompt_lines import Prompt


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([10, 20, 30, 40], 50, 20),
        ([10, 20, 30, 40], 51, 30),
        ([10, 20, 30, 40], 95, 40),
        ([40, 10, 30, 20], 25, 10),
        ([7], 50, 7),
        ([7], 99, 7),
        (range(1, 101), 95, 95),
        (range(1, 101), 99, 99),
        (range(1, 101), 100, 100),
        (range(1, 101), 0, 1),
    ],
)
def test_percentiles_by_hand(values: list[float], share: float, expected: float) -> None:
    assert statistics.percentile(list(values), share) == expected


def test_weights_count_a_value_several_times() -> None:
    # 1 1 1 5 9: the middle of five is 1, the fourth is 5
    values, weights = [5, 1, 9], np.array([1.0, 3.0, 1.0])
    assert statistics.percentile(values, 50, weights) == 1
    assert statistics.percentile(values, 80, weights) == 5
    assert statistics.percentile(values, 81, weights) == 9


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    st.integers(1, 100),
)
def test_percentile_is_the_smallest_that_enough_do_not_exceed(values: list[float], share: int) -> None:
    found = statistics.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= share * len(values)
    assert sum(value < found for value in values) * 100 < share * len(values)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), min_size=1, max_size=40), st.integers(1, 100)
)
def test_weighted_is_repeated(pairs: list[tuple[float, int]], share: int) -> None:
    repeated = [value for value, count in pairs for _ in range(count)]
    weights = np.array([float(count) for _, count in pairs])
    assert statistics.percentile([value for value, _ in pairs], share, weights) == statistics.percentile(
        repeated, share
    )


def test_summary_is_in_milliseconds() -> None:
    assert statistics.summary([0.010, 0.020, 0.060]) == {
        "mean": 30.0,
        "p50": 20.0,
        "p90": 60.0,
        "p95": 60.0,
        "p99": 60.0,
        "min": 10.0,
        "max": 60.0,
    }
    assert statistics.summary([]) is None


def test_a_response_of_several_tokens_is_several_gaps() -> None:
    # the first response waits for the prompt; then 2 tokens after 60 ms are two gaps of 30 ms
    seconds, weights = statistics.gaps(Answer([1.0, 1.06, 1.07], [3, 2, 1]))
    assert seconds == pytest.approx([0.03, 0.01])
    assert weights == [2, 1]


class Spoken:
    """A door through which every byte is a token."""

    def read(self, heard: Heard) -> Answer:
        return Answer([at for at, _ in heard], [float(len(said)) for _, said in heard], 4.0)

    async def ask(self, prompt: Prompt, heard: Heard) -> None:
        raise AssertionError("nobody asks")

    async def close(self) -> None:
        """Nothing is open."""


def test_a_run_by_hand() -> None:
    run = Run(started=100.0, ended=102.0)
    run.records = [
        Record(due=100.0, measured=True, sent=100.0, ended=101.1, heard=[(100.5, b"a"), (101.0, b"bbb")]),
        # due before it could be sent: what it waited counts
        Record(due=100.5, measured=True, sent=100.7, ended=102.0, heard=[(101.5, b"a"), (102.0, b"bbb")]),
        Record(due=100.6, measured=True, sent=100.6, ended=100.9, heard=[(100.8, b"aa")], error="broke"),
        # keeps the load up: its two tokens within the window count for the rates only
        Record(due=101.1, measured=False, sent=101.1, heard=[(101.9, b"aa"), (102.4, b"b")], error="left"),
    ]
    found = statistics.describe(told.of(run, Spoken()))
    assert found["seconds"] == 2.0
    assert (found["requests"], found["errors"], found["error_messages"]) == (3, 1, {"broke": 1})
    assert found["error_rate"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["tokens_per_second"] == (4 + 4 + 2) / 2
    assert found["requests_per_second"] == (4 + 4 + 2) / 4 / 2
    assert found["ttft_ms"]["mean"] == (500 + 1000) / 2
    assert found["latency_ms"]["p50"] == 1000.0
    assert found["latency_ms"]["max"] == 1500.0
    # three gaps of 500/3 ms twice
    assert found["itl_ms"]["mean"] == pytest.approx(500 / 3, abs=1e-3)
    assert found["input_tokens"] == {"mean": 4.0}
    assert found["output_tokens"] == {"mean": 4.0}
    assert found["sent_late_ms"]["max"] == 200.0
    assert found["distribution"]["ttft_ms"] == [500.0, 1000.0]


class Once:
    """A door to a model that answers once: an answer holds no tokens."""

    def read(self, heard: Heard) -> Answer:
        return Answer()


def once(due: float, ended: float, *, measured: bool = True, error: str = "") -> Record:
    heard = [] if error else [(ended, b"")]
    return Record(due=due, measured=measured, sent=due, ended=ended, heard=heard, error=error)


def test_a_run_of_single_answers_by_hand() -> None:
    run = Run(started=100.0, ended=102.0)
    run.records = [
        once(100.0, 100.5),
        once(100.5, 100.6),
        once(100.6, 102.0),
        once(100.7, 100.8, error="broke"),
        # they keep the load up: the one that was there before the end counts for the rate only
        once(101.0, 101.9, measured=False),
        once(101.0, 102.5, measured=False),
        once(101.0, 101.2, measured=False, error="left"),
    ]
    found = statistics.describe(told.of(run, Once()), streams=False)
    assert (found["requests"], found["errors"], found["error_rate"]) == (4, 1, 0.25)
    assert found["requests_per_second"] == 4 / 2
    assert found["latency_ms"] == {
        "mean": pytest.approx(2000 / 3, abs=1e-3),
        "p50": 500.0,
        "p90": 1400.0,
        "p95": 1400.0,
        "p99": 1400.0,
        "min": 100.0,
        "max": 1400.0,
    }
    assert found["distribution"] == {"latency_ms": [100.0, 500.0, 1400.0]}
    assert found["error_messages"] == {"broke": 1}


def test_single_answers_have_no_figures_of_tokens() -> None:
    run = Run(started=0.0, ended=1.0, records=[once(0.0, 0.5)])
    found = statistics.describe(told.of(run, Once()), streams=False)
    assert not [name for name in found if "token" in name or name in ("ttft_ms", "itl_ms")]
    assert found.keys() >= {f"{time}_ms" for time in kinds.SINGLE_PASS.times} | {*kinds.SINGLE_PASS.numbers}
    assert kinds.of(found) is kinds.SINGLE_PASS
    assert kinds.of(statistics.describe(told.of(run, Spoken()))) is kinds.STREAMING


def test_no_single_answer_is_no_division_by_zero() -> None:
    run = Run(started=0.0, ended=1.0, records=[once(0.0, 0.5, error="no")])
    found = statistics.describe(told.of(run, Once()), streams=False)
    assert (found["requests_per_second"], found["latency_ms"]) == (0.0, None)


def test_nothing_answered_is_no_division_by_zero() -> None:
    run = Run(started=0.0, ended=1.0, records=[Record(due=0.0, measured=True, sent=0.0, error="no")])
    found = statistics.describe(told.of(run, Spoken()))
    assert found["error_rate"] == 1.0
    assert found["tokens_per_second"] == found["requests_per_second"] == 0.0
    assert found["ttft_ms"] is found["itl_ms"] is found["latency_ms"] is found["output_tokens"] is None


def test_a_long_distribution_keeps_its_ends() -> None:
    run = Run(started=0.0, ended=1000.0)
    run.records = [
        Record(due=float(at), measured=True, sent=float(at), heard=[(at + at / 1000, b"a")])
        for at in range(500)
    ]
    curve = statistics.describe(told.of(run, Spoken()))["distribution"]["ttft_ms"]
    assert len(curve) == statistics.CURVE
    assert (curve[0], curve[-1]) == (0.0, 499.0)
    assert curve == sorted(curve)
