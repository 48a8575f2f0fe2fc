"""Every check notices the fault it is there for."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mutants
import pytest
import single_pass_mutants
from mutants import Mutant

from builder.report import Report
from builder.verify import checks

MUTANTS = (*mutants.MUTANTS, *single_pass_mutants.MUTANTS)


def _parameters() -> list[object]:
    return [
        pytest.param(mutant, id=mutant.name, marks=() if mutant.fast else pytest.mark.slow)
        for mutant in MUTANTS
    ]


@pytest.mark.triton
@pytest.mark.parametrize("mutant", _parameters())
def test_the_checks_notice(mutant: Mutant, verdict: Callable[[Mutant], Report]) -> None:
    report = verdict(mutant)
    failed = {comparison.name for comparison in report.failures}
    details = "\n".join(f"{row[2]}: {row[3]} {row[4]}" for row in report.rows())
    assert failed == mutant.kills, f"not noticed: {sorted(mutant.kills - failed)}\n{details}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_there_is_what_it_changes(mutant: Mutant, written: Callable[[str], Path], tmp_path: Path) -> None:
    """Also of the mutants that are only run in the slow tier."""
    shutil.copytree(written(mutant.deployment), tmp_path / "repository")
    for patch in mutant.patches:
        patch.apply(tmp_path / "repository")


def test_there_is_a_mutant_for_every_check() -> None:
    killed = {name for mutant in MUTANTS for name in mutant.kills}
    assert killed == {check.name for check in checks()}


def test_mutants_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []
