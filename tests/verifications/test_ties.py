"""Where two tokens were as likely an engine may answer either: no fault, and nothing to compare behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from builder.golden import Golden, GoldenPrompt
from builder.subject import Mismatch, Subject
from builder.triton_client import Client

WORDS = ("one", " two", " three", " four")
PROMPT = GoldenPrompt(
    "count", "", None, (1,), (0, 1, 2, 3), "".join(WORDS), "length", 4, (0.9, 0.1, 0.8, 0.7)
)


class Counting(Subject):
    """A front whose tokens are words."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(WORDS[token] for token in ids)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    (tmp_path / "settings.json").write_text("{}")
    return Counting("count", tmp_path, Golden(0.2, (PROMPT,)), cast(Client, None))


def test_equal_texts_agree(subject: Subject) -> None:
    assert subject.agree(PROMPT, "one two", "one two")


def test_texts_that_part_at_a_tie_are_no_fault_and_not_compared(subject: Subject) -> None:
    assert not subject.agree(PROMPT, "one ten eleven", "one two three")
    assert not subject.agree(PROMPT, "one two three", "one ten eleven")


@pytest.mark.parametrize("seen", ["none", "one two four", "one two", "one two three four five", ""])
def test_texts_that_differ_anywhere_else_are_a_fault(subject: Subject, seen: str) -> None:
    with pytest.raises(Mismatch, match="prompt 'count'"):
        subject.agree(PROMPT, seen, "one two three four")
    with pytest.raises(Mismatch, match="as told"):
        subject.agree(PROMPT, seen, "one two three four", "as told")
