"""The error of a program that failed begins with the cause, whatever the program is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from builder import child, complaint
from builder.errors import ConversionError

FOREIGN = (
    "print('working')\n"
    "try:\n    1 / 0\n"
    "except ZeroDivisionError as error:\n    raise ValueError('two\\nlines') from error"
)
OURS = (
    "from builder.errors import SourceError\n"
    "raise SourceError('a step\\nthat none knows', expected='another', remedy='replace it')"
)


def failure(program: str, tmp_path: Path) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        child.run([sys.executable, "-c", program], tmp_path / "log", ConversionError)
    return caught.value


def test_an_exception_heads_the_message(tmp_path: Path) -> None:
    error = failure(FOREIGN, tmp_path)
    assert error.found.startswith("ValueError: two\nlines\n`")
    assert error.found.endswith("ended with code 1")
    assert "Traceback" not in error.found
    assert error.remedy == f"read its whole log at {tmp_path / 'log'}"


def test_an_error_of_ours_keeps_its_parts(tmp_path: Path) -> None:
    error = failure(OURS, tmp_path)
    assert error.found.startswith("a step\nthat none knows\n`")
    assert error.expected == "another"
    assert error.remedy == f"replace it; read its whole log at {tmp_path / 'log'}"


PRINTED = (
    "from builder import complaint\nfrom builder.errors import UsageError\n"
    "print('converted 3 %', flush=True)\n"
    "with complaint.printed(again=''):\n"
    "    raise UsageError('a step\\nthat none knows', expected='another', remedy='replace it')"
)


def test_one_that_was_printed_keeps_them_too(tmp_path: Path) -> None:
    error = failure(PRINTED, tmp_path)
    assert error.found.startswith("a step\nthat none knows\n`")
    assert error.found.endswith("ended with code 1")
    assert error.expected == "another"
    assert error.remedy.startswith("replace it; read its whole log")


def test_what_follows_a_line_of_errors_is_not_cut_off(tmp_path: Path) -> None:
    error = failure("print('error: one\\nand another')\nraise SystemExit(3)", tmp_path)
    assert error.found.endswith("ended with code 3:\n  error: one\n  and another")


def test_without_an_exception_its_last_lines_follow(tmp_path: Path) -> None:
    error = failure("print('no memory')\nraise SystemExit(3)", tmp_path)
    assert error.found.endswith("ended with code 3:\n  no memory")
    assert error.expected == ""


@pytest.mark.parametrize(
    "log", ["", "Traceback (most recent call last):", "Traceback (most recent call last):\n  x\n"]
)
def test_a_log_that_breaks_off_tells_no_cause(log: str) -> None:
    assert complaint.read(log) == complaint.Complaint()
