"""Prompts: the same seed gives the same, and no two begin alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.errors import UsageError
from builder.measuring import prompts
from builder.measuring.prompts import Order


def test_shipped_prompts_are_varied() -> None:
    found = [prompts.as_text(prompt) for prompt in prompts.read()]
    assert len(found) == len(set(found)) >= 40
    lengths = sorted(len(text.split()) for text in found)
    assert lengths[0] <= 8
    assert lengths[-1] >= 100


def test_order_is_the_seeds_and_marks_are_the_salts() -> None:
    shipped = prompts.read()
    first, again = Order(shipped, 3, "salt", "run 0"), Order(shipped, 3, "salt", "run 0")
    other_run, other_seed = Order(shipped, 3, "salt", "run 1"), Order(shipped, 4, "salt", "run 0")
    asked = [first.prompt(index) for index in range(200)]
    assert asked == [again.prompt(index) for index in range(200)]

    def bare(order: Order) -> list[str]:
        return [prompts.as_text(order.prompt(index)).partition("] ")[2] for index in range(200)]

    assert bare(other_run) == bare(first) != bare(other_seed)
    beginnings = {
        prompts.as_text(order.prompt(index))[:14] for order in (first, other_run) for index in range(200)
    }
    assert len(beginnings) == 400


def test_without_salt_prompts_stay_as_they_are() -> None:
    assert Order(["as it is"], 0, "", "run").prompt(5) == "as it is"


def test_marks_go_to_the_very_beginning() -> None:
    assert prompts.marked("text", "ab") == "[ab] text"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert prompts.marked(chat, "ab") == [{"role": "system", "content": "[ab] Be brief."}, chat[1]]
    parts = [{"role": "user", "content": [{"type": "image_url"}]}]
    marked = prompts.marked(parts, "ab")
    assert marked[0]["content"] == [{"type": "text", "text": "[ab]"}, {"type": "image_url"}]  # type: ignore[index]


def test_texts_and_chats_become_each_other() -> None:
    assert prompts.as_messages("Hi") == [{"role": "user", "content": "Hi"}]
    assert prompts.as_text([{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]) == "A\n\nB"


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"prompt": 3}',
        '{"messages": []}',
        '{"messages": ["x"]}',
        '{"prompt": "a", "messages": [{}]}',
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "good"}) + "\n\n" + line)
    with pytest.raises(UsageError, match="line 3"):
        prompts.read(path)


def test_no_file_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        prompts.read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no prompt"):
        prompts.read(tmp_path / "empty.jsonl")
