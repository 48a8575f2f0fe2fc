"""Every rule by its own examples: ours finds the fault in the bad one alone, and Triton thinks so too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from workbench import examples
from workbench.verdicts import Triton

from builder.check import check, rules
from builder.rule import Host, Rule

RULES = {one.code: one for one in rules()}
HOST = Host("24.10", gpus=0, backends=frozenset({"python"}), completes=False)
WITH_EXAMPLES = [code for code, one in RULES.items() if one.bad]
CRASHING = ("TRN424",)
"""After a warm-up that fails Triton 2.51 crashes now and then, before it has said why."""
NEEDS_MORE = {
    "TRN233": "the server is 24.10, which knows no model_metrics",
    "TRN308": "needs the tensorrt backend",
    "TRN611": "needs the onnxruntime backend",
    "TRN651": "needs the onnxruntime backend",
    **dict.fromkeys((f"TRN{number}" for number in range(661, 677)), "needs the onnxruntime backend"),
    **dict.fromkeys(("TRN652", "TRN653", "TRN654", "TRN655"), "needs the vllm backend"),
    **dict.fromkeys((f"TRN{number}" for number in range(681, 689)), "needs the tensorrt backend"),
    **dict.fromkeys(("TRN641", "TRN642", "TRN643", "TRN644", "TRN648"), "needs the tensorrtllm backend"),
    "TRN646": "the code that reads the tokenizer is the user's",
    "TRN647": "the code that reads model.yaml is NVIDIA's",
}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with Triton(tmp_path_factory.mktemp("triton")) as running:
        yield running


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def test_codes_are_unique_and_of_one_form() -> None:
    assert len(RULES) == len(rules()) >= 100
    assert [code for code in RULES if not re.fullmatch(r"TRN\d{3}", code)] == []


@pytest.mark.parametrize("code", RULES)
def test_a_rule_says_what_is_right(code: str) -> None:
    one = RULES[code]
    assert one.summary.endswith(".")
    assert bool(one.bad) == bool(one.good)


@pytest.mark.parametrize("code", WITH_EXAMPLES)
def test_the_bad_example_has_the_fault(code: str, written: Path) -> None:
    examples.write(RULES[code].bad, written)
    # of an engine that a release cannot load, TRN645 says nothing
    host = Host("26.07") if code == "TRN645" else HOST
    found = [finding for finding in check(written, host=host) if finding.code == code]
    assert found
    assert all(finding.message and finding.remedy for finding in found)


@pytest.mark.parametrize("code", WITH_EXAMPLES)
def test_the_good_example_has_no_error(code: str, written: Path) -> None:
    examples.write(RULES[code].good, written)
    host = HOST if RULES[code].severity == "error" and code not in NEEDS_MORE else Host()
    found = check(written, host=host)
    assert [finding for finding in found if finding.severity != "warning" or finding.code == code] == []


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize("code", [code for code in WITH_EXAMPLES if RULES[code].severity == "error"])
def test_triton_refuses_the_bad_example_and_takes_the_good_one(
    code: str, written: Path, tmp_path: Path, triton: Triton
) -> None:
    if code in NEEDS_MORE:
        pytest.skip(NEEDS_MORE[code])
    one = RULES[code]
    examples.write(one.bad, written)
    refused = {name: verdict for name, verdict in triton.judge(written).items() if not verdict.loaded}
    assert refused
    told = [_says(verdict.reason, one) or _crashed(verdict.reason, code) for verdict in refused.values()]
    assert any(told), refused
    good = tmp_path / "good"
    examples.write(one.good, good)
    assert [verdict.reason for verdict in triton.judge(good).values() if not verdict.loaded] == []


def _crashed(log: str, code: str) -> bool:
    """Return whether Triton refused by a crash, which leaves a trace of its stack and perhaps no reason."""
    return code in CRASHING and "# 0x0" in log


def _says(log: str, one: Rule) -> bool:
    """Return whether a log holds the rule's reason, its first words at least."""
    return " ".join(one.reason.split()[:3]) in log
