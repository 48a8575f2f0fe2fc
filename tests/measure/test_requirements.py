"""Requirements: read, checked against every run, and refused with a hint."""

from __future__ import annotations

from typing import Any

import pytest

from builder.errors import UsageError
from builder.measuring import kinds, requirements

RUN: dict[str, Any] = {
    "load": {"kind": "closed", "concurrency": 4},
    "repeat": 0,
    "requests": 8,
    "errors": 1,
    "error_rate": 0.125,
    "requests_per_second": 2.0,
    "tokens_per_second": 100.0,
    "ttft_ms": {"mean": 20.0, "p50": 19.0, "p95": 500.0, "p99": 600.0, "min": 1.0, "max": 700.0},
    "itl_ms": None,
    "latency_ms": {"mean": 2000.0, "p50": 1999.0, "p95": 2500.0, "p99": 2600.0, "min": 1.0, "max": 9.0},
    "memory": {"cpu_mb": {"pss": 900.0, "rss": 1000.0}, "gpu_mb": {"GPU-1": 600.0, "GPU-2": 500.0}},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("ttft_p95<500ms", False),
        ("ttft_p95<=500ms", True),
        ("ttft_p95 <= 0.5 s", True),
        ("ttft_p95<0.5001s", True),
        ("ttft_p95>4.99e2ms", True),
        ("latency_p50==1999ms", True),
        ("latency_p50_ms==1999", True),
        ("latency_p50_ms<1999ms", False),
        ("error_rate==0", False),
        ("error_rate<=12.5%", True),
        ("error_rate<0.2", True),
        ("errors<1", False),
        ("requests>=8", True),
        ("tokens_per_second>100", False),
        ("requests_per_second>=2", True),
        ("cpu_pss<1GB", True),
        ("cpu_rss<1GB", False),
        ("gpu_memory<=1100MB", True),
        ("gpu_memory<1.1GB", False),
        ("itl_p50<1000s", False),
        ("shared_memory<1GB", False),
    ],
)
def test_a_requirement_holds_or_not(text: str, holds: bool) -> None:
    [one] = requirements.parse(text)
    assert one.holds(RUN) is holds
    assert [miss.requirement for miss in requirements.missed([one], [RUN, RUN])] == [one, one] * (not holds)


def test_several_are_separated_by_commas() -> None:
    parsed = requirements.parse(" ttft_p95 < 500 ms , error_rate==0,tokens_per_second>100 ")
    assert [(one.metric, one.operator, one.limit) for one in parsed] == [
        ("ttft_p95", "<", 500.0),
        ("error_rate", "==", 0.0),
        ("tokens_per_second", ">", 100.0),
    ]


def test_a_miss_says_what_was_measured() -> None:
    [miss] = requirements.missed(requirements.parse("ttft_p99<1ms"), [RUN])
    assert (miss.load, miss.repeat, miss.value) == ("4 at once", 0, 600.0)
    [miss] = requirements.missed(requirements.parse("itl_p99<1s"), [RUN])
    assert miss.value is None
    assert miss.measured() == "not measured"


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        ("ttft_p99<1ms", "600 ms"),
        ("latency_mean<1s", "2 s"),
        ("error_rate<1%", "12.5 %"),
        ("error_rate==0", "0.125"),
        ("cpu_rss<0.5GB", "1 GB"),
    ],
)
def test_a_miss_is_told_in_the_unit_of_its_rule(rule: str, measured: str) -> None:
    [miss] = requirements.missed(requirements.parse(rule), [RUN])
    assert miss.measured() == measured


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft_p59<1ms", "did you mean ttft_p99"),
        ("token_per_second>1", "did you mean tokens_per_second"),
        ("zzz<1", "there is no metric zzz"),
        ("ttft_p95<500", "no unit"),
        ("ttft_p95<5MB", "the unit MB"),
        ("error_rate==0ms", "the unit ms"),
        ("latency_p50_ms<2s", "there is no metric latency_p50_ms; did you mean latency_p50"),
        ("error_rate_ms<2", "there is no metric error_rate_ms"),
        ("cpu_pss<5s", "the unit s"),
        ("ttft_p95=<500ms", "is no requirement"),
        ("ttft_p95<-1ms", "is no requirement"),
        ("ttft_p95", "is no requirement"),
        ("error_rate==0,", "'' is no requirement"),
        ("ttft_p95<5 00ms", "is no requirement"),
        ("  ", "is no requirement"),
    ],
)
def test_what_is_no_requirement_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        requirements.parse(text)


ONCE: dict[str, Any] = {
    "load": {"kind": "closed", "concurrency": 4},
    "repeat": 0,
    "requests": 8,
    "errors": 0,
    "error_rate": 0.0,
    "requests_per_second": 500.0,
    "latency_ms": {"mean": 2.0, "p50": 1.9, "p90": 2.4, "p95": 2.5, "p99": 2.6, "min": 1.0, "max": 9.0},
    "memory": {"cpu_mb": {"pss": 900.0}, "gpu_mb": {}},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("requests_per_second>=500", True),
        ("latency_p90<2.4ms", False),
        ("latency_p99<=2.6ms", True),
        ("cpu_pss<1GB", True),
    ],
)
def test_a_model_that_answers_once_is_required_of_too(text: str, holds: bool) -> None:
    [one] = requirements.parse(text)
    requirements.require_known([one], kinds.SINGLE_PASS, "m")
    assert one.holds(ONCE) is holds


@pytest.mark.parametrize("metric", ["ttft_p95<1s", "itl_mean<1s", "tokens_per_second>1"])
def test_figures_of_tokens_are_refused_where_there_are_none(metric: str) -> None:
    rules = requirements.parse(f"error_rate==0,{metric}")
    requirements.require_known(rules, kinds.STREAMING, "m")
    with pytest.raises(UsageError, match=r"m does not stream text, its runs have no \w+\n") as refused:
        requirements.require_known(rules, kinds.SINGLE_PASS, "m")
    assert "ttft" not in refused.value.expected
    assert "requests_per_second" in refused.value.expected
