"""Tensors that the converter refuses are refused by the plan, by their headers and in the same words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored_decoders
import tiny_decoders
import torch
from safetensors.torch import load_file, save_file

from builder.errors import SourceError
from builder.plan import Options, Plan, plan
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division
from builder.ranks.stored import convert_stored
from builder.subjects import read

DOWN = "model.layers.0.mlp.down_proj"
BIAS = "model.layers.1.self_attn.q_proj.bias"
Tensors = dict[str, Any]


def planned(folder: Path, target: str = "tensorrtllm", **more: Any) -> Plan:
    told = {"target": target, "gpu": "h100", "max_context": 64, "tensor_parallel": 2, **more}
    return plan(read("tiny", str(folder), None)[0], Options(**told))


def plain(folder: Path, change: Callable[[Tensors], Tensors], shards: int = 1) -> Path:
    told = tiny_decoders.config("llama")
    return tiny_decoders.write(folder, told, change(tiny_decoders.weights(told)), shards)


def stored(folder: Path, way: str, change: Callable[[Tensors], Tensors]) -> Path:
    stored_decoders.write(folder, way)
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


def without(held: Tensors, *names: str) -> Tensors:
    return {name: one for name, one in held.items() if name not in names}


@dataclass(frozen=True)
class Case:
    """How a checkpoint is spoiled, and what is said; `way` is how it is quantised, "" for plain weights."""

    way: str
    change: Callable[[Tensors], Tensors]
    words: str


CASES = {
    "several types": Case(
        "",
        lambda held: {**held, f"{DOWN}.weight": held[f"{DOWN}.weight"].astype(np.float16)},
        f"mixes types: 20 tensors are F32, 1 F16, such as {DOWN}.weight",
    ),
    "an unknown tensor": Case(
        "",
        lambda held: {**held, BIAS: np.ones(32, np.float32)},
        f"holds {BIAS}, of which its config says nothing",
    ),
    "a missing tensor": Case(
        "", lambda held: without(held, f"{DOWN}.weight"), f"lacks the tensor {DOWN}.weight"
    ),
    "several types beside quantised weights": Case(
        "gptq",
        lambda held: {**held, "model.norm.weight": held["model.norm.weight"].float()},
        "4 tensors are F16, 1 F32, such as model.norm.weight",
    ),
    "an unknown tensor beside quantised weights": Case(
        "gptq",
        lambda held: {**held, "model.extra.weight": torch.ones(2)},
        "holds model.extra.weight, of which its config says nothing",
    ),
    "a plain matrix among quantised ones": Case(
        "gptq",
        lambda held: (
            {name: one for name, one in held.items() if not name.startswith(DOWN)}
            | {f"{DOWN}.weight": torch.randn(256, 512).half()}
        ),
        f"{DOWN}.weight is not quantised",
    ),
    "no scale of inputs": Case(
        "compressed-fp8",
        lambda held: without(held, f"{DOWN}.input_scale"),
        f"beside {DOWN}.weight_scale no one scale of its inputs",
    ),
    "a scale for each output": Case(
        "modelopt-fp8",
        lambda held: {**held, f"{DOWN}.weight_scale": torch.ones(256, 1)},
        "float8 with 256 scales for one matrix",
    ),
    "groups of another size than is said": Case(
        "modelopt-awq",
        lambda held: {**held, f"{DOWN}.weight_scale": torch.ones(256, 8)},
        "4 bits with 8 groups of 512 inputs",
    ),
    "groups by activations": Case(
        "compressed-int4",
        lambda held: {**held, f"{DOWN}.weight_g_idx": torch.arange(512, dtype=torch.int32)},
        "4 bits with groups by activations",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_plan_refuses_what_the_converter_refuses(name: str, tmp_path: Path) -> None:
    case, source = CASES[name], tmp_path / "source"
    stored(source, case.way, case.change) if case.way else plain(source, case.change)
    with pytest.raises(SourceError) as early:
        planned(source)
    assert case.words in early.value.found
    with pytest.raises(SourceError) as late:
        (convert_stored if case.way else convert)(source, tmp_path / "out", Ranks(Division(2)))
    assert str(late.value) == str(early.value)
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["several types", "an unknown tensor", "no scale of inputs"])
def test_a_target_that_converts_nothing_plans_on(name: str, tmp_path: Path) -> None:
    case, source = CASES[name], tmp_path / "source"
    stored(source, case.way, case.change) if case.way else plain(source, case.change)
    assert planned(source, "vllm").target == "vllm"


@pytest.mark.parametrize("way", ["", *stored_decoders.WAYS])
def test_what_converts_is_planned(way: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    stored(source, way, dict) if way else plain(source, dict, shards=2)
    assert planned(source).target == "tensorrtllm"


def test_headers_suffice_and_are_read_once(tmp_path: Path) -> None:
    """As of a checkpoint on a hub, of which no more is downloaded before the plan is made."""
    source = plain(tmp_path / "source", CASES["several types"].change, shards=3)
    subject = read("tiny", str(source), None)[0]
    for shard in source.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(SourceError, match="mixes types: 20 tensors are F32"):
        plan(subject, Options(target="tensorrtllm", gpu="h100"))


def test_published_numbers_alone_are_planned(tmp_path: Path) -> None:
    """Of a recipe whose checkpoint is elsewhere nothing is known of its tensors."""
    subject, found = read("llama-8b", None, None)
    assert (subject.checkpoint, found) == (None, None)
    assert plan(subject, Options(target="tensorrtllm", gpu="h100")).target == "tensorrtllm"


def test_a_recipe_s_own_folder_that_is_broken_is_not_elsewhere(tmp_path: Path) -> None:
    source = plain(tmp_path / "source", CASES["a missing tensor"].change)
    told = tiny_decoders.config("llama")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f'description = "mine"\nlicence = "none"\ncheckpoint = {json.dumps(str(source))}\n'
        '[defaults]\ntarget = "onnx"\n[config]\n'
        + "".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items())
    )
    with pytest.raises(SourceError, match="lacks the tensor"):
        read(str(recipe), None, None)
    plain(source, dict)
    assert read(str(recipe), None, None)[0].weights_at_hand


def test_whoever_plans_needs_no_arrays(tmp_path: Path) -> None:
    stored(tmp_path / "source", "gptq", dict)
    program = (
        "import sys; from builder.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'numpy', 'torch', 'safetensors'} & set(sys.modules)), file=sys.stderr)"
    )
    options = ["--target", "tensorrtllm", "--gpu", "h100", "--max-context", "64", "--json", "--lock", "none"]
    words = ["plan", "mine", "--checkpoint", str(tmp_path / "source"), *options]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert json.loads(done.stdout)["target"] == "tensorrtllm"
