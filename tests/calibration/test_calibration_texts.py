"""Calibration data: which lines are taken, which token ids come of them, and what is recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from builder.calibration import texts
from builder.cli import main
from builder.errors import UsageError
from builder.exporting.tensorrt_llm import share
from builder.exporting.tensorrt_llm_quantised import command
from builder.printing import outcomes
from builder.publishing import Published
from builder.ranks.convert import Ranks
from builder.ranks.division import Division
from builder.ranks.quantised import Quantised


class Letters:
    """Tokenizes as transformers' tokenizers are called: a letter is a token, 0 comes first."""

    def __init__(self, chat_template: str | None = None) -> None:
        self.chat_template = chat_template

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [0] * add_special_tokens + [ord(letter) for letter in text]}

    def apply_chat_template(self, messages: list[dict[str, Any]], tokenize: bool) -> str:
        assert not tokenize
        if messages[0]["role"] != "user":
            raise ValueError("a user speaks first")
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)


CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    return path


def test_texts_and_chats(tmp_path: Path) -> None:
    data = texts.read(written(tmp_path, {"prompt": "xy"}, "", {"messages": CHAT}))
    rendered = [ord(letter) for letter in "<user>a<assistant>b"]
    # a template writes the special tokens itself
    assert texts.sequences(data, Letters("...")) == [[0, ord("x"), ord("y")], rendered]
    assert texts.sequences(data, Letters())[1] == [0, *map(ord, "a\n\nb")]
    assert texts.sequences(data, Letters("..."), longest=2) == [[0, ord("x")], rendered[:2]]


def test_too_little_is_told_with_the_numbers(tmp_path: Path) -> None:
    data = texts.read(written(tmp_path, {"prompt": "x"}))
    told = texts.doubt(data, texts.sequences(data, Letters()))
    assert told.startswith(
        "scales are measured with 1 text of 2 tokens in all, which is little: below 32 texts"
    )
    # without a tokenizer by its letters, four of a token
    assert "1 text of about 1 tokens" in texts.doubt(data)
    recorded = texts.described(data, texts.sequences(data, Letters()))
    assert recorded["warning"] == told


@pytest.mark.parametrize(
    ("count", "tokens", "enough"), [(32, 64, True), (31, 200, False), (32, 63, False), (300, 5, False)]
)
def test_both_numbers_count(count: int, tokens: int, enough: bool, tmp_path: Path) -> None:
    prompts = [{"prompt": f"{number:04}" + "abcd" * (tokens - 1)} for number in range(count)]
    data, found = texts.read(written(tmp_path, *prompts)), [[n] * tokens for n in range(count)]
    assert (texts.doubt(data, found) == "") is enough
    assert (texts.doubt(data) == "") is enough
    assert ("warning" in texts.described(data, found)) is not enough


def test_what_stands_there_again_counts_once(tmp_path: Path) -> None:
    data = texts.read(written(tmp_path, *[{"prompt": "abcd" * 64}] * 199, {"prompt": "abcd" * 64 + " "}))
    told = "scales are measured with 1 text of about 64 tokens in all, and 199 that are the same again, which"
    assert texts.doubt(data).startswith(told)
    assert "1 text of 64 tokens in all, and 199 that are the same" in texts.doubt(data, [[1] * 64] * 200)
    others = [{"prompt": f"{number:04}" + "abcd" * 70} for number in range(32)]
    assert texts.doubt(texts.read(written(tmp_path, *[{"prompt": "abcd"}] * 9, *others))) == ""


def test_the_shipped_texts_are_enough() -> None:
    assert texts.doubt(texts.read()) == ""


def test_a_plan_warns_of_it(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "x"})
    line = f"plan llama-8b --target tensorrtllm --gpu h100 --quantize fp8 --calibration {path}"
    ran = CliRunner().invoke(main, [*line.split(), "--json"])
    assert ran.exit_code == 0
    assert ran.stderr.startswith("warning: scales are measured with 1 text of about 1 tokens")
    assert json.loads(ran.stdout)["quantize"] == "fp8"
    assert CliRunner().invoke(main, line.split()[:-2]).stderr == ""


def test_a_build_warns_of_what_its_manifest_says(tmp_path: Path) -> None:
    published = Published(tmp_path, "model", 3, fresh=True)
    home = tmp_path / "model" / "3"
    home.mkdir(parents=True)
    compared = {"warning": "little", "workload": {"warning": "unlike"}}
    for manifest, warned in (
        ({"calibration": compared}, ["little", "unlike"]),
        ({"calibration": {"workload": {"unlike": 0.1}}}, []),
        ({}, []),
    ):
        (home / "manifest.json").write_text(json.dumps(manifest))
        assert outcomes.warnings(SimpleNamespace(published=published)) == warned  # type: ignore[arg-type]


def test_what_is_recorded_names_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "xy"}, {"prompt": "z"})
    data = texts.read(path)
    assert texts.described(data, texts.sequences(data, Letters())) == {
        "file": "mine.jsonl",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sequences": 2,
        "tokens": 5,
        "longest": 512,
        "warning": texts.doubt(data, [[0, 1, 2], [0, 1]]),
    }


def test_shipped_texts_are_chats_that_answer() -> None:
    data = texts.read()
    assert len(data.prompts) > 30
    for prompt in data.prompts:
        assert not isinstance(prompt, str)
        assert [one["role"] for one in prompt] == ["user", "assistant"] * (len(prompt) // 2)
        assert all(one["content"].strip() for one in prompt)
    assert texts.described(data, [[1]])["file"] == "shipped"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("not JSON", 2),
        ('"a string"', 2),
        ({"text": "x"}, 2),
        ({"prompt": ""}, 2),
        ({"prompt": 5}, 2),
        ({"messages": []}, 2),
        ({"messages": ["hello"]}, 2),
        ({"prompt": "x", "messages": CHAT}, 2),
    ],
)
def test_bad_lines_are_refused(line: Any, number: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"mine.jsonl, line {number}"):
        texts.read(written(tmp_path, {"prompt": "x"}, line))


def test_files_without_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        texts.read(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="holds no text"):
        texts.read(written(tmp_path, "", " "))
    (tmp_path / "mine.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="--calibration"):
        texts.read(tmp_path / "mine.jsonl")


def test_a_chat_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    data = texts.read(written(tmp_path, {"prompt": "x"}, {"messages": CHAT[1:]}))
    with pytest.raises(UsageError, match="text 2: the model's chat template refuses it: a user speaks first"):
        texts.sequences(data, Letters("..."))


def test_the_command_says_all_that_was_asked() -> None:
    asked = Quantised(Ranks(Division(4, 2, 2), "bf16", True), "fp8", cache=True)
    told = command(Path("from"), Path("to"), asked, Path("texts.jsonl"))
    assert told[1:5] == ["-m", "builder.exporting.tensorrt_llm_quantised", "from", "to"]
    assert " ".join(told[5:]) == (
        "--method fp8 --kv-cache fp8 --calibration texts.jsonl --tp 4 --pp 2 --ep 2 --dtype bf16 "
        "--parallel-embedding --percents"
    )
    assert command(Path("from"), Path("to"), Quantised(Ranks(Division()), "awq"))[5:7] == ["--method", "awq"]


def test_progress_is_read_among_what_others_print() -> None:
    assert share("Inserted 56 quantizers\nconverted 12 %\nawq_lite: Searching parameters...\n") == 0.12
