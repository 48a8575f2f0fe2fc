"""What `compare` tries, keeps and does not try again; converter and proof are the workshop's stand-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_rows
import pytest
from click.testing import CliRunner
from tiny import Workshop, tree

from builder import house, room, subjects
from builder.cli import main
from builder.compare import RECORD, Asked, compare
from builder.comparing import row as rows
from builder.comparing import trial, variants
from builder.comparing.trial import How
from builder.comparing.variants import Variant
from builder.errors import BuilderError, ComparisonError, UsageError
from builder.measure import Options as Loads
from builder.measuring import task
from builder.plan import Options

HOW = How(Loads(task.loads("1,8", None, 0, 0.0), output_tokens=8), twice=False)


class Trials:
    """Stands for what builds, boots and measures: says that all went well, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.ending: dict[str, BaseException] = {}
        monkeypatch.setattr(trial, "run", self._run)

    def _run(self, model: Any, variant: Variant, planned: Any, *rest: Any) -> rows.Row:
        self.tried.append(variant.label)
        if variant.label in self.ending:
            raise self.ending[variant.label]
        key = next(one for one in rest if isinstance(one, str))
        return made_rows.served(variant.label, 1_000_000, 0.1, 10.0, key=key)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(monkeypatch)


@pytest.fixture
def asked(workshop: Workshop) -> Iterator[Asked]:
    yield Asked("tiny", Options(), str(workshop.checkpoint), ("fp32", "int8", "int4"), ("onnx",))


EVERY = ["onnx/fp32", "onnx/int8", "onnx/int4"]


def test_each_is_tried_once(workshop: Workshop, trials: Trials, asked: Asked) -> None:
    home = workshop.folder / "compare" / "tiny"
    told: list[str] = []
    found = compare(asked, home, HOW, tell=lambda row: told.append(row.variant))
    assert trials.tried == told == [row.variant for row in found.rows] == EVERY
    again = compare(asked, home, HOW)
    assert trials.tried == EVERY
    assert again.rows == found.rows
    record = json.loads((home / RECORD).read_text())
    assert record["schema"] == "builder.comparison/1"
    assert [row["variant"] for row in record["rows"]] == EVERY


def test_only_what_changed_is_tried_again(workshop: Workshop, trials: Trials, asked: Asked) -> None:
    home = workshop.folder / "compare"
    compare(replace(asked, quantizations=("int8",)), home, HOW)
    compare(asked, home, HOW)
    assert trials.tried == ["onnx/int8", "onnx/fp32", "onnx/int4"]
    compare(asked, home, replace(HOW, load=replace(HOW.load, output_tokens=9)))
    assert trials.tried[3:] == EVERY
    compare(replace(asked, options=Options(max_divergence=0.5)), home, HOW)
    assert trials.tried[6:] == EVERY
    (workshop.checkpoint / "generation_config.json").write_text('{"top_k": 5}')
    compare(asked, home, HOW)
    assert trials.tried[9:] == EVERY


@pytest.mark.parametrize("damage", ["", "{}", "[]", "null", '{"variant": 1}', "\0"])
def test_a_damaged_row_is_tried_again(workshop: Workshop, trials: Trials, asked: Asked, damage: str) -> None:
    home = workshop.folder / "compare"
    compare(asked, home, HOW)
    files = sorted((home / "rows").glob("*.json"))
    assert len(files) == 3
    for file in files:
        file.write_text(damage)
    compare(asked, home, HOW)
    assert trials.tried == [*EVERY, *EVERY]


def test_whoever_interrupts_keeps_what_was_found(workshop: Workshop, trials: Trials, asked: Asked) -> None:
    home = workshop.folder / "compare"
    trials.ending["onnx/int8"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        compare(asked, home, HOW)
    assert [row["variant"] for row in json.loads((home / RECORD).read_text())["rows"]] == ["onnx/fp32"]
    trials.ending.clear()
    compare(asked, home, HOW)
    assert trials.tried == ["onnx/fp32", "onnx/int8", "onnx/int8", "onnx/int4"]


def invoke(*words: object) -> Any:
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_one_that_fails_does_not_end_the_others(workshop: Workshop) -> None:
    """The stand-in's converter fails for all: each has its row, all are named, the exit code says so."""
    workshop.set(FAKE_CONVERTER="fail")
    home = workshop.folder / "compare"
    words = ("--checkpoint", workshop.checkpoint, "--target", "onnx", "--quantize", "int8,int4")
    done = invoke("tiny", *words, "--output", home)
    assert done.exit_code == 1
    assert "2 not served: tiny as onnx/int8, tiny as onnx/int4" in done.stderr
    assert workshop.runs() == 2
    found = json.loads((home / "tiny" / RECORD).read_text())["rows"]
    assert all("line 39 of its complaint" in row["failure"] for row in found)
    assert (home / "tiny" / "comparison.html").read_text().count("failed") >= 2
    # it is not taken for done
    invoke("tiny", *words, "--output", home)
    assert workshop.runs() == 4


def test_one_that_misses_its_gate_shows_what_it_lost(workshop: Workshop) -> None:
    workshop.set(FAKE_PROOF="far")
    asked = Asked("tiny", Options(), str(workshop.checkpoint), ("int8",), ("onnx",))
    (row,) = compare(asked, workshop.folder / "compare", HOW).rows
    assert "does not answer like its source" in row.failure
    assert row.divergence == 9.0
    assert row.size == sum(
        file.stat().st_size for file in workshop.cache.glob("artifacts/*/model/*") if file.is_file()
    )
    assert not row.repository and not row.runs
    assert not (workshop.folder / "compare" / "onnx-int8").exists()


def test_one_that_no_plan_allows_is_a_row(workshop: Workshop) -> None:
    asked = Asked("tiny", Options(max_context=9999), str(workshop.checkpoint), ("int8",), ("onnx",))
    (row,) = compare(asked, workshop.folder / "compare", HOW).rows
    assert "--max-context 9999" in row.failure
    assert workshop.runs() == 0


def test_every_quantization_of_the_house_is_a_variant() -> None:
    subject, _ = subjects.read("llama-8b", None, None)
    found = variants.variants(subject, Options(), (), (), ())
    expected = {
        f"{target}/{name}"
        for name in house.plugin_names("quantizations")
        for target, support in house.plugin("quantizations", name, option="").QUANTIZATION.targets.items()
        if "cpu" in support.devices and target in ("onnx", "llamacpp") and name != variants.MIXED
    }
    # of a mixture each size is one
    assert {one.label for one in found} == expected - {"llamacpp/mixed"}
    assert {"onnx/fp32", "onnx/int8", "onnx/int4", "llamacpp/q8_0", "llamacpp/q5_k_m"} < expected
    on_gpu = variants.variants(subject, Options(gpu="h200"), (), ("vllm",), ())
    assert {one.label for one in on_gpu} >= {"vllm/bf16", "vllm/fp16"}


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("minilm", {}, "minilm is for embedding, and expects no next token"),
        ("llama-8b", {"quantizations": ("fp9",)}, "--quantize 'fp9' does not exist"),
        ("llama-8b", {"targets": ("nowhere",)}, "--target 'nowhere' does not exist"),
        ("llama-8b", {"quantizations": ("smoothquant",)}, "no smoothquant of llama-8b runs on a CPU"),
        ("llama-8b", {"targets": ("vllm",)}, "no variant of llama-8b by target vllm runs on a CPU"),
    ],
)
def test_what_there_is_no_variant_of(name: str, asked: dict[str, Any], said: str) -> None:
    subject, _ = subjects.read(name, None, None)
    given = {"quantizations": (), "targets": (), "fits": (), **asked}
    with pytest.raises(UsageError, match=said):
        variants.variants(subject, Options(), **given)


def test_texts_to_calibrate_with_are_for_those_that_measure_scales() -> None:
    asked = Options(calibration="texts.jsonl")
    assert Variant("onnx", "int8").options(asked).calibration is None
    assert Variant("tensorrtllm", "awq").options(asked).calibration == "texts.jsonl"


def test_a_disk_that_is_too_small_is_said_before_anything_is_built(
    workshop: Workshop, tmp_path: Path
) -> None:
    with pytest.raises(ComparisonError, match=r"2 artifacts of 2000000000.00 GB together do not fit"):
        room.require({"one": 10**18, "other": 10**18}, tmp_path / "not" / "there")
    (workshop.cache / "artifacts" / "one").mkdir(parents=True)
    room.require({"one": 10**18}, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody",), "nobody"),
        (("minilm",), "expects no next token"),
        (("smollm2", "--fit", "120"), "is no size, such as 120MB"),
        (("smollm2", "--fit", "0MB"), "is no size, such as 120MB"),
        (("smollm2", "--quantize", "int4,"), "has an empty name in it"),
        (("smollm2", "llama-8b", "--checkpoint", "x"), "--checkpoint is of one NAME"),
        (("smollm2", "--load", "none"), "--load: 'none'"),
        ((), "Missing argument 'NAME...'"),
    ],
)
def test_misuse(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = invoke(*words, "--output", tmp_path / "compare")
    assert done.exit_code == 2
    assert said in done.stderr
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "size"), [("120MB", 120_000_000), ("1.5 GB", 1_500_000_000), ("2MiB", 2 << 20), ("7b", 7)]
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    from builder.commands.compare import Size

    assert Size().convert(text, None, None) == size


def test_a_refusal_is_an_error_of_the_tree() -> None:
    assert issubclass(ComparisonError, BuilderError) and ComparisonError.exit_code == 1
