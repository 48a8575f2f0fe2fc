"""What `builder plan` and `builder list` print, one folder per case: command.txt and expected.txt."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import main

CASES = sorted(path.parent for path in (Path(__file__).parent / "golden").glob("*/command.txt"))


def test_there_are_cases():
    assert len(CASES) >= 8


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_printout(case):
    words = shlex.split((case / "command.txt").read_text())
    assert words[0] == "builder"
    result = CliRunner().invoke(main, words[1:])
    lines = [line.rstrip() for line in result.output.splitlines()]
    found = "\n".join([*lines, f"exit code {result.exit_code}", ""])
    assert found == (case / "expected.txt").read_text(encoding="utf-8")
