"""What a model that answers once is asked: from a file, from its golden answers, or the shipped texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import UsageError
from builder.measuring import asks
from builder.measuring.front import Front

TEXT = Front(
    "embed", {"text_input": "BYTES"}, ("embedding",), True, False, {"text_input": (1,)}, ("text_input",)
)
TABLE = Front(
    "table",
    {"age": "FP32", "city": "BYTES", "pixels": "UINT8", "sure": "BOOL"},
    ("prediction",),
    batched=True,
    streams=False,
    dims={"age": (1,), "city": (1,), "pixels": (3, -1), "sure": (1,)},
    required=("age", "city", "pixels"),
)
LINE = {"age": 3, "city": "Bari", "pixels": [[1], [2], [3]]}


def lines(folder: Path, *found: Any) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("\n\n".join(one if isinstance(one, str) else json.dumps(one) for one in found))
    return path


def golden(folder: Path, version: int, *inputs: Any, name: str = "table", **fields: Any) -> None:
    version_folder = folder / name / str(version)
    version_folder.mkdir(parents=True)
    asked = [{"id": str(place), "inputs": one} for place, one in enumerate(inputs)]
    found = {"format": 1, "kind": "single_pass", "asks": asked, **fields}
    (version_folder / "golden.json").write_text(json.dumps(found))


def test_shipped_texts_are_of_mixed_lengths() -> None:
    found, origin = asks.read(TEXT, None, None, {})
    counts = sorted(len(one["text_input"].split()) for one in found)
    assert origin == "shipped"
    assert len({one["text_input"] for one in found}) == len(found) >= 30
    assert 5 <= counts[0] <= 8
    assert 20 <= counts[len(counts) // 2] <= 60
    assert 150 <= counts[-1] <= 200


def test_lines_of_a_file_are_asked_as_they_are(tmp_path: Path) -> None:
    path = lines(tmp_path, LINE, {**LINE, "sure": True})
    assert asks.read(TABLE, path, None, {}) == ((LINE, {**LINE, "sure": True}), str(path))


def test_prompts_are_texts_for_a_model_that_takes_one(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]
    path = lines(tmp_path, {"prompt": "one"}, {"messages": chat}, {"text_input": ["three"]})
    found, _ = asks.read(TEXT, path, None, {})
    assert found == ({"text_input": "one"}, {"text_input": "A\n\nB"}, {"text_input": ["three"]})


def test_a_model_may_have_an_input_called_prompt(tmp_path: Path) -> None:
    front = Front("m", {"prompt": "BYTES"}, ("y",), False, False, {"prompt": (1,)}, ("prompt",))
    found, _ = asks.read(front, lines(tmp_path, {"prompt": "one"}), None, {})
    assert found == ({"prompt": "one"},)


def test_golden_answers_of_the_newest_version_are_asked(tmp_path: Path) -> None:
    golden(tmp_path, 9, {**LINE, "age": 9})
    golden(tmp_path, 10, {**LINE, "age": 10})
    assert asks.read(TABLE, None, tmp_path, {}) == (({**LINE, "age": 10},), "golden.json")
    # a file that was named wins
    assert asks.read(TABLE, lines(tmp_path, LINE), tmp_path, {})[0] == (LINE,)


@pytest.mark.parametrize("fields", [{"kind": "generation"}, {"format": 2}, {"asks": 3}, {"asks": []}])
def test_other_golden_answers_are_left_alone(tmp_path: Path, fields: dict[str, Any]) -> None:
    golden(tmp_path, 1, name="embed", **fields)
    assert asks.read(TEXT, None, tmp_path, {})[1] == "shipped"


def test_what_is_missing_may_be_in_every_request(tmp_path: Path) -> None:
    front = Front(
        "m", {"text_input": "BYTES", "k": "INT32"}, ("y",), True, False, {"text_input": (1,), "k": (1,)}
    )
    front = Front(**{**vars(front), "required": ("text_input", "k")})
    assert asks.read(front, None, None, {"k": 3})[1] == "shipped"
    found, _ = asks.read(front, lines(tmp_path, {"text_input": "x"}), None, {"k": 3})
    assert found == ({"text_input": "x"},)


@pytest.mark.parametrize(
    ("front", "line"),
    [
        (TABLE, '{"age": 0.5, "city": "...", "pixels": [1, ...]}'),
        (Front("m", {"b": "BOOL"}, ("y",), True, False, {"b": (2,)}, ("b",)), '{"b": [true, ...]}'),
    ],
)
def test_a_model_that_nothing_is_known_of_needs_a_file(front: Front, line: str) -> None:
    with pytest.raises(UsageError) as refused:
        asks.read(front, None, None, {})
    assert refused.value.expected == f"--prompts FILE with lines such as {line}"
    assert "base64" in refused.value.remedy


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "line 3: no json"),
        ([1], r"line 3: \[1\]"),
        ({**LINE, "agee": 3}, "line 3: table has no input agee; did you mean age"),
        ({"age": 3}, "line 3 lacks city, pixels of table"),
        ({**LINE, "age": "old"}, 'line 3: age cannot be "old": its dtype is FP32'),
        ({**LINE, "pixels": [1, 2]}, r"line 3: pixels cannot be \[1, 2\]: its shape is \[3, -1\]"),
        ({"prompt": "text"}, "line 3: table has no input prompt"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asks.read(TABLE, lines(tmp_path, LINE, line), None, {})


def test_published_models_carry_a_manifest(tmp_path: Path) -> None:
    golden(tmp_path, 1)
    golden(tmp_path, 1, name="other")
    (tmp_path / "table" / "1" / "manifest.json").touch()
    assert asks.published(tmp_path) == {"table"}
    assert asks.published(None) == set()
