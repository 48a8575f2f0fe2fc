"""A hundred seeded repositories that are nearly right: Triton's verdict is ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import differential, mutations

FIRST, CASES = 1_000_000, 100


@pytest.mark.slow
@pytest.mark.triton
def test_what_triton_refuses_has_an_error_and_nothing_else_has(tmp_path: Path) -> None:
    rows = list(differential.run(range(FIRST, FIRST + CASES), tmp_path))
    assert [row for row in rows if row.outcome == "missed"] == []
    assert sum(row.outcome == "false alarm" for row in rows) <= len(rows) // 100
    assert sum(row.refused for row in rows) >= len(rows) * 0.3


def test_a_case_is_its_number(tmp_path: Path) -> None:
    first, again = (mutations.write(number, tmp_path / str(place)) for place, number in enumerate((7, 7)))
    assert first == again
    assert _files(tmp_path / "0") == _files(tmp_path / "1")
    assert len({mutations.write(number, tmp_path / f"n{number}").origin for number in range(30)}) > 10


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
