"""What cannot become ranks is refused with the numbers, and no rank file is ever left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import BuilderError, ConversionError, PlanError, SourceError, UsageError
from builder.exporting import tensorrt_llm, tensorrt_llm_quantised
from builder.ranks import convert as converter
from builder.ranks import copying
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division
from builder.ranks.quantised import Quantised, convert_quantised

BOTH = Ranks(Division(tensor=2, pipeline=2))
DOWN = "model.layers.1.mlp.down_proj.weight"


def write(folder: Path, shards: int = 1, family: str = "llama", **changed: Any) -> tiny_decoders.Weights:
    told = tiny_decoders.config(family, **changed)
    weights = tiny_decoders.weights(told)
    tiny_decoders.write(folder / "source", told, weights, shards)
    return weights


def rewrite(folder: Path, weights: tiny_decoders.Weights) -> None:
    config = json.loads((folder / "source" / "config.json").read_text())
    tiny_decoders.write(folder / "source", config, weights)


def damage(folder: Path, way: str) -> None:
    """Cut the second of two shards short, or take it away."""
    path = folder / "source" / "model-00002-of-00002.safetensors"
    if way == "cut":
        os.truncate(path, path.stat().st_size - 100)
    else:
        path.unlink()


def require_nothing_left(folder: Path) -> None:
    """Fail where anything but the source is there: a rank, a folder on the way to be one, a config."""
    assert [one.name for one in folder.iterdir()] == ["source"]
    assert list(folder.rglob("rank*")) == []


def refused(folder: Path, error: type[BuilderError], *words: str, asked: Ranks = BOTH) -> None:
    with pytest.raises(error) as told:
        convert(folder / "source", folder / "out", asked)
    for word in words:
        assert word in str(told.value), told.value
    require_nothing_left(folder)


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), shard=st.sampled_from([1, 2, 3]))
def test_a_file_that_is_cut_short_anywhere_yields_no_rank(place: float, shard: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, shards=3)
        path = folder / "source" / f"model-{shard:05}-of-00003.safetensors"
        os.truncate(path, int(place * path.stat().st_size))
        refused(folder, SourceError, path.name)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_file_that_is_cut_by_one_byte_is_told_with_the_numbers(shards: int, tmp_path: Path) -> None:
    write(tmp_path, shards=shards)
    path = sorted((tmp_path / "source").glob("*.safetensors"))[-1]
    size = path.stat().st_size
    os.truncate(path, size - 1)
    refused(tmp_path, SourceError, path.name, f"it has {size - 1} bytes", f"{size} bytes, by its own header")


def test_a_file_that_is_cut_after_it_was_looked_at_yields_no_rank(tmp_path: Path) -> None:
    """A download that was replaced while it is read: its header told the truth when the plan was made."""
    write(tmp_path)
    prepared = converter.prepare(tmp_path / "source", BOTH)
    path = tmp_path / "source" / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)
    with (
        pytest.raises(SourceError, match=r"model\.safetensors"),
        converter.written(tmp_path / "out", prepared.ranks, prepared.described) as stage,
    ):
        copying.copy(prepared.sources, prepared.ranks, stage)
    require_nothing_left(tmp_path)


def test_a_converter_that_is_killed_leaves_no_rank_where_ranks_are_looked_for(tmp_path: Path) -> None:
    write(tmp_path)
    # stops at its first word of progress, ranks open
    program = (
        "import os, signal, sys; from pathlib import Path; from builder.ranks.convert import Ranks, convert\n"
        "from builder.ranks.division import Division\n"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), Ranks(Division(2)),"
        " lambda *_: os.kill(os.getpid(), signal.SIGKILL))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "source"), str(tmp_path / "out")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    # the next run takes away what the killed one left, and is whole
    convert(tmp_path / "source", tmp_path / "out", BOTH)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "source"]
    assert len(list((tmp_path / "out").glob("rank*.safetensors"))) == 4


@pytest.mark.parametrize("way", ["cut", "missing"])
def test_nor_do_quantised_ones(way: str, tmp_path: Path) -> None:
    """Before anything is measured."""
    write(tmp_path, shards=2, hidden_size=128, intermediate_size=256, num_attention_heads=2, head_dim=64)
    damage(tmp_path, way)
    asked = Quantised(Ranks(Division()), "fp8")
    with pytest.raises(SourceError, match="model-00002-of-00002"):
        convert_quantised(tmp_path / "source", tmp_path / "out", asked, pytest.fail)
    require_nothing_left(tmp_path)


@pytest.mark.parametrize("shard", [1, 2, 3])
def test_a_missing_shard_yields_no_rank(shard: int, tmp_path: Path) -> None:
    write(tmp_path, shards=3)
    name = f"model-{shard:05}-of-00003.safetensors"
    (tmp_path / "source" / name).unlink()
    refused(tmp_path, SourceError, name)


def test_a_shard_that_lacks_a_tensor_yields_no_rank(tmp_path: Path) -> None:
    weights = write(tmp_path)
    del weights[DOWN]
    rewrite(tmp_path, weights)
    refused(tmp_path, SourceError, DOWN)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", [DOWN, "model.embed_tokens.weight", "model.norm.weight"])
def test_weights_that_are_no_numbers(name: str, dtype: Any, bad: float, tmp_path: Path) -> None:
    weights = {key: value.astype(dtype) for key, value in write(tmp_path).items()}
    weights[name].reshape(-1)[[5, 7]] = bad
    rewrite(tmp_path, weights)
    refused(tmp_path, SourceError, name, "2 NaN or infinite values", f"among {weights[name].size}")


def test_types_that_are_mixed(tmp_path: Path) -> None:
    weights = write(tmp_path)
    weights[DOWN] = weights[DOWN].astype(np.float16)
    rewrite(tmp_path, weights)
    refused(tmp_path, SourceError, f"{len(weights) - 1} tensors are F32, 1 F16, such as {DOWN}")


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "quantised already"),
        ({"quant_method": "of tomorrow", "bits": 3}, "of tomorrow"),
    ],
)
def test_a_quantised_source(described: dict[str, Any], words: str, tmp_path: Path) -> None:
    write(tmp_path, quantization_config=described)
    refused(tmp_path, SourceError, words)


@pytest.mark.parametrize(
    ("family", "changed", "division", "words"),
    [
        ("llama", {}, Division(tensor=3), "--tp 3 does not divide the 8 attention heads"),
        ("llama", {}, Division(pipeline=3), "--pp 3 does not divide the 2 layers"),
        (
            "llama",
            {"intermediate_size": 49},
            Division(2),
            "--tp 2 does not divide the intermediate size of 49",
        ),
        ("llama", {"num_key_value_heads": 8, "num_attention_heads": 24}, Division(12), "--tp 12"),
        ("mixtral", {"num_local_experts": 3}, Division(2, experts=2), "--ep 2 does not divide the 3 experts"),
        ("mixtral", {"num_local_experts": 4}, Division(4, experts=3), "--ep 3 does not divide the 4 ranks"),
        (
            "mixtral",
            {"num_local_experts": 4, "intermediate_size": 50},
            Division(8, experts=2),
            "over 4 ranks, which do not divide its intermediate size of 50",
        ),
    ],
)
def test_what_ranks_do_not_divide(
    family: str, changed: dict[str, Any], division: Division, words: str, tmp_path: Path
) -> None:
    write(tmp_path, family=family, **changed)
    refused(tmp_path, PlanError, words, asked=Ranks(division))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Ranks(Division(tensor=0)), "--tp 0"),
        (Ranks(Division(experts=2, tensor=2)), "has no experts"),
        (Ranks(Division(), "int4"), "'int4' is no type of weights"),
    ],
)
def test_what_is_asked_wrongly(asked: Ranks, words: str, tmp_path: Path) -> None:
    write(tmp_path)
    refused(tmp_path, UsageError, words, asked=asked)


def test_numbers_too_large_for_their_type(tmp_path: Path) -> None:
    weights = write(tmp_path)
    weights[DOWN][0, 3] = 1e6
    rewrite(tmp_path, weights)
    refused(tmp_path, ConversionError, DOWN, "1 values too large for F16", asked=Ranks(Division(2), "fp16"))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rank0.safetensors").write_text("theirs")
    with pytest.raises(UsageError, match="not empty"):
        convert(tmp_path / "source", tmp_path / "out", BOTH)
    assert [one.read_text() for one in (tmp_path / "out").iterdir()] == ["theirs"]


COMMANDS = {
    "plain": lambda folder: tensorrt_llm.command(folder / "source", folder / "out", BOTH),
    "quantised": lambda folder: tensorrt_llm_quantised.command(
        folder / "source", folder / "out", Quantised(BOTH, "fp8")
    ),
}


@pytest.mark.parametrize("kind", list(COMMANDS))
@pytest.mark.parametrize("way", ["cut", "missing"])
def test_the_command_says_so_and_leaves_nothing(way: str, kind: str, tmp_path: Path) -> None:
    write(tmp_path, shards=2)
    damage(tmp_path, way)
    done = subprocess.run(COMMANDS[kind](tmp_path), capture_output=True, text=True, check=False)
    first, *others = done.stderr.splitlines()
    assert done.returncode == 1 and first.startswith("error: ")
    assert "model-00002-of-00002.safetensors" in first
    assert [line.partition(":")[0] for line in others] == ["  expected", "  to mend it"]
    require_nothing_left(tmp_path)


@pytest.mark.parametrize("module", [tensorrt_llm, tensorrt_llm_quantised])
def test_every_refusal_is_told_in_lines(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    words = ["converter", str(tmp_path / "source"), str(tmp_path / "out")]
    method = [] if module is tensorrt_llm else ["--method", "fp8", "--dtype", "bf16"]
    monkeypatch.setattr(sys, "argv", [*words, "--tp", "3", *method])
    with pytest.raises(SystemExit) as ended:
        module.main()
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.startswith("error: ")
    assert "--tp 3 does not divide the 8 attention heads" in told
    require_nothing_left(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").touch()
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    assert f"error: {tmp_path / 'out'} is not empty\n  expected: a new folder\n" in capsys.readouterr().err


def test_ctrl_c_is_told_in_lines(tmp_path: Path) -> None:
    write(tmp_path)
    # at its first word of progress
    program = (
        "import os, runpy, signal, sys; from builder.exporting import tensorrt_llm as it\n"
        "it.Percents.__call__ = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "it.main()"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "source"), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    again = "  to mend it: run the same command again: it goes on where it was\n"
    assert (done.returncode, done.stderr) == (130, f"error: interrupted\n{again}")
    assert not (tmp_path / "out").exists()


def test_ranks_need_no_tokenizer_but_calibration_does(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "source" / "tokenizer.json").unlink()
    done = subprocess.run(COMMANDS["quantised"](tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "expected: tokenizer.json" in done.stderr
    require_nothing_left(tmp_path)
    convert(tmp_path / "source", tmp_path / "out", BOTH)
    assert len(list((tmp_path / "out").glob("rank*.safetensors"))) == 4


HEAVY = ("modelopt", "tensorrt_llm", "tensorrt", "torch", "transformers")
ALONE = """
import runpy, sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise SystemExit(f"{name} is imported")


sys.meta_path.insert(0, Refuse())
runpy.run_module("builder.exporting.tensorrt_llm", run_name="__main__")
""".replace("HEAVY", repr(HEAVY))


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen3"])
def test_the_converter_imports_no_library_of_nvidia_s(family: str, tmp_path: Path) -> None:
    """No modelopt, no tensorrt_llm, not even torch: it runs where none of them can be installed."""
    write(tmp_path, family=family, num_local_experts=2, num_experts_per_tok=1)
    words = [sys.executable, "-c", ALONE, str(tmp_path / "source"), str(tmp_path / "out"), "--tp", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "out").glob("rank*.safetensors"))) == 2


def test_an_import_of_one_would_be_seen() -> None:
    words = [
        sys.executable,
        "-c",
        ALONE.replace("runpy.run_module", "import torch\nrunpy.run_module"),
        "a",
        "b",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "torch is imported" in done.stderr
