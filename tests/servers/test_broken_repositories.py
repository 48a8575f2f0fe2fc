"""Every folder of `broken/` must fail the boot with the right reason: drop a folder in, a test exists."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.check import Choice
from builder.errors import ServeError
from builder.serve import boot
from builder.server import Options

CASES = sorted((Path(__file__).parent / "broken").iterdir())

# all else is left to Triton, whose own reasons are what is tested here
WHAT_TRITON_HANGS_ON = Choice(("TRN00", "TRN621"), ignore=("TRN006",))


def files(repository: Path) -> dict[Path, bytes]:
    """Read every file; the stub's own __pycache__ does not count."""
    paths = [path for path in repository.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.triton
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_repository_fails_with_its_reason(case: Path, tmp_path: Path, clean: Path) -> None:
    if case.name == "gpu_without_gpu" and shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    repository = tmp_path / "repository"
    shutil.copytree(case / "repository", repository, ignore=shutil.ignore_patterns("__pycache__"))
    before = files(repository)
    with pytest.raises(ServeError) as failure:
        boot(repository, timeout=60.0, options=Options(log=clean), refusing=WHAT_TRITON_HANGS_ON)
    for expected in (case / "expected.txt").read_text().splitlines():
        assert expected in str(failure.value)
    assert failure.value.remedy
    assert files(repository) == before


def test_there_are_at_least_ten_cases() -> None:
    assert len(CASES) >= 10
