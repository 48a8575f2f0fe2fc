"""Checkpoints that are quantised already: their numbers lie in the ranks unchanged, or the reason is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import quantised_decoders
import tiny_decoders
import tiny_quantised
import torch
from safetensors.torch import load_file
from stored_decoders import CACHES, FLOAT8, GPTQ, INT4, MODELOPT, WAYS, compressed, float8, scale_cache, write

from builder import house, unpacking, weight_format
from builder.errors import PlanError, SourceError
from builder.ranks.convert import Ranks
from builder.ranks.division import Division
from builder.ranks.stored import convert_stored

LAYER = "transformer.layers.0."


def rewritten(folder: Path, changed: dict[str, Any], *gone: str) -> None:
    """Change tensors of a folder."""
    held = load_file(folder / "model.safetensors") | changed
    kept = {name: one for name, one in held.items() if name not in gone}
    tiny_decoders.write(folder, json.loads((folder / "config.json").read_text()), kept)


def converted(folder: Path, division: Division = Division()) -> list[dict[str, Any]]:  # noqa: B008
    convert_stored(folder / "source", folder / "out", Ranks(division))
    assert not (folder / "out" / "calibration.json").exists()
    return [load_file(folder / "out" / f"rank{rank}.safetensors") for rank in range(division.ranks)]


@pytest.mark.parametrize("way", ["gptq", "compressed-int4", "modelopt-awq"])
def test_four_bits_are_taken_as_they_are(way: str, tmp_path: Path) -> None:
    modules = write(tmp_path / "source", way)
    ranks = converted(tmp_path, Division(2))
    told = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    assert (told["quant_algo"], told["group_size"], told["pre_quant_scale"]) == ("W4A16_AWQ", 128, True)
    names = [f"model.layers.0.self_attn.{one}_proj" for one in "qkv"]
    for rank, held in enumerate(ranks):
        for part, index in (("weight", 1), ("weights_scaling_factor", 2)):
            found = held[f"{LAYER}attention.qkv.{part}"]
            found = unpacking.outputs(found) if part == "weight" else found
            parts = [modules[name][index].chunk(2)[rank] for name in names]
            torch.testing.assert_close(found, torch.cat(parts), rtol=0, atol=0)
            found = held[f"{LAYER}mlp.proj.{part}"]
            found = unpacking.outputs(found) if part == "weight" else found
            expected = modules["model.layers.0.mlp.down_proj"][index].chunk(2, dim=1)[rank]
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        smoothing = held[f"{LAYER}attention.qkv.prequant_scaling_factor"]
        assert torch.equal(smoothing, torch.ones(256, dtype=torch.float16))


@pytest.mark.parametrize("way", ["fp8", "modelopt-fp8", "compressed-fp8"])
def test_float8_is_taken_as_it_is(way: str, tmp_path: Path) -> None:
    modules = write(tmp_path / "source", way)
    parts, numbers, scale = modules["model.layers.0.self_attn.o_proj"]
    for rank, held in enumerate(converted(tmp_path, Division(2))):
        found = held[f"{LAYER}attention.dense.weight"]
        assert torch.equal(found.float(), numbers.chunk(2, dim=1)[rank].float())
        torch.testing.assert_close(held[f"{LAYER}attention.dense.weights_scaling_factor"], scale.reshape(1))
        largest = held[f"{LAYER}attention.dense.activation_scaling_factor"]
        torch.testing.assert_close(largest, parts["input_scale"].reshape(1))


def test_matrices_in_one_tensor_get_the_largest_scale(tmp_path: Path) -> None:
    modules = write(tmp_path / "source", "fp8")
    (held,) = converted(tmp_path)
    groups = {
        "attention.qkv": [f"self_attn.{one}_proj" for one in "qkv"],
        # two tensors, but a kernel may make one product of both
        "mlp.fc": ["mlp.gate_proj", "mlp.up_proj"],
        "mlp.gate": ["mlp.up_proj", "mlp.gate_proj"],
    }
    for module, names in groups.items():
        read = [modules[f"model.layers.0.{name}"] for name in names]
        shared = max(scale for _, _, scale in read)
        own = read if module == "attention.qkv" else read[:1]
        torch.testing.assert_close(held[f"{LAYER}{module}.weights_scaling_factor"], shared.reshape(1))
        inputs = max(parts["input_scale"] for parts, _, _ in read)
        torch.testing.assert_close(held[f"{LAYER}{module}.activation_scaling_factor"], inputs.reshape(1))
        found = held[f"{LAYER}{module}.weight"].float() * shared
        expected = torch.cat([numbers.float() * scale for _, numbers, scale in own])
        assert ((found - expected).abs() <= expected.abs() * 2.0**-4 + shared * 2.0**-10).all()


@pytest.mark.parametrize("way", list(CACHES))
def test_scales_of_the_cache(way: str, tmp_path: Path) -> None:
    write(tmp_path / "source", way, num_hidden_layers=2, kv_cache_scheme=FLOAT8)
    scale_cache(tmp_path / "source", way, (2.5, 0.25), (0.5, 0.75))
    (held,) = converted(tmp_path)
    for layer, expected in enumerate([[2.5, 2.5, 1.0], [1.0, 1.0, 1.0]]):
        module = f"transformer.layers.{layer}.attention."
        assert [float(held[f"{module}{one}_cache_scaling_factor"]) for one in ("kv", "k", "v")] == expected
    told = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    assert told["kv_cache_quant_algo"] == "FP8"


@pytest.mark.parametrize("way", list(CACHES))
def test_a_cache_without_all_of_its_scales_is_refused(way: str, tmp_path: Path) -> None:
    write(tmp_path / "source", way, num_hidden_layers=2, kv_cache_scheme=FLOAT8)
    refused(tmp_path, "scales of 0 keys and 0 values for 2 layers", "--target vllm")
    scale_cache(tmp_path / "source", way, (2.5, 0.25))
    refused(tmp_path, "scales of 1 keys and 1 values for 2 layers")


REFUSED = [
    ("gptq", {"group_size": 64}, "groups of 64"),
    ("gptq", {"desc_act": True}, "by their activations: its engines take symmetric 4 bits"),
    ("gptq", {"sym": False}, "with zero points: its engines"),
    ("fp8", {"activation_scheme": "dynamic"}, "one for all of its inputs"),
    ("fp8", {"weight_block_size": [128, 128], "activation_scheme": "dynamic"}, "blocks of 128 x 128"),
    ("modelopt-fp8", {"quant_algo": "FP8_PB_WO"}, "only FP8, W4A16_AWQ"),
    ("modelopt-awq", {"group_size": 64}, "groups of 128"),
    ("compressed-fp8", compressed("float-quantized", FLOAT8, {**FLOAT8, "dynamic": True}), "beforehand"),
    ("compressed-fp8", compressed("int-quantized", {**FLOAT8, "type": "int"}, FLOAT8), "no layout"),
    ("compressed-int4", compressed("pack-quantized", {**INT4, "symmetric": False}), "symmetric 4 bits"),
    ("compressed-int4", compressed("pack-quantized", {**INT4, "group_size": 32}), "groups of 32"),
    ("compressed-int4", compressed("pack-quantized", {**INT4, "actorder": "group"}), "in a row"),
]


@pytest.mark.parametrize(("way", "described", "words"), REFUSED)
def test_other_ways_are_refused(way: str, described: dict[str, Any], words: str, tmp_path: Path) -> None:
    write(tmp_path / "source", way)
    path = tmp_path / "source" / "config.json"
    told = json.loads(path.read_text())
    told["quantization_config"] |= described
    path.write_text(json.dumps(told))
    refused(tmp_path, words)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({**GPTQ, "bits": 8}, "symmetric 4 bits"),
        ({**MODELOPT, "quant_algo": "NVFP4"}, "only FP8, W4A16_AWQ"),
        ({**MODELOPT, "quantization": {"quant_algo": "W4A8_AWQ"}}, "only FP8, W4A16_AWQ"),
    ],
)
def test_other_sizes_are_refused(told: dict[str, Any], words: str) -> None:
    found = weight_format.read({"quantization_config": told})
    assert found is not None and "tensorrtllm" not in found.kernels
    assert words in found.refused["tensorrtllm"]


def refused(folder: Path, *words: str, error: type[Exception] = SourceError) -> None:
    with pytest.raises(error) as told:
        convert_stored(folder / "source", folder / "out", Ranks(Division()))
    for word in words:
        assert word in str(told.value)
    assert [one.name for one in folder.iterdir()] == ["source"]


@pytest.mark.parametrize(("way", "words"), [("awq", "symmetric 4 bits"), ("bitsandbytes-nf4", "no layout")])
def test_formats_without_a_file_are_refused(way: str, words: str, tmp_path: Path) -> None:
    tiny_quantised.checkpoint(tmp_path / "source", way)
    refused(tmp_path, words, "--target vllm")


def test_every_format_that_engines_take_has_a_file() -> None:
    """And every file a format: the plan promises what the converter reads."""
    told = [{"quantization_config": described} for _, described in WAYS.values()]
    taken = {one.name for one in map(weight_format.read, told) if one and "tensorrtllm" in one.kernels}
    assert taken == set(house.plugin_names("ranks.stored_formats"))


def test_numbers_of_32_bits_beside_quantised_ones_become_bfloat16(tmp_path: Path) -> None:
    write(tmp_path / "source", "gptq")
    held = load_file(tmp_path / "source" / "model.safetensors")
    plain = {name: one.float() for name, one in held.items() if name.endswith("norm.weight")}
    plain |= {name: held[name].float() for name in ("model.embed_tokens.weight", "lm_head.weight")}
    rewritten(tmp_path / "source", plain)
    (found,) = converted(tmp_path)
    assert {found["lm_head.weight"].dtype, found["transformer.ln_f.weight"].dtype} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_plain_weights_want_a_method(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)
    refused(tmp_path, "not quantised", "--method")


DOWN = "model.layers.0.mlp.down_proj"


def test_layers_of_which_some_are_plain_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "source", "fp8")
    parts = [f"{DOWN}.{part}" for part in ("weight_scale", "input_scale")]
    rewritten(tmp_path / "source", {f"{DOWN}.weight": torch.randn(256, 512).half()}, *parts)
    refused(tmp_path, f"{DOWN}.weight is not quantised")


def test_a_quantised_head_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "source", "fp8")
    parts, _, _ = float8(320, 256)
    rewritten(tmp_path / "source", {f"lm_head.{part}": one for part, one in parts.items()})
    refused(tmp_path, "lm_head.weight is quantised")


@pytest.mark.parametrize("number", [float("nan"), 0.0, -1.0, float("inf")])
@pytest.mark.parametrize("part", ["weight_scale", "input_scale"])
def test_scales_that_are_none_are_refused(part: str, number: float, tmp_path: Path) -> None:
    write(tmp_path / "source", "fp8")
    rewritten(tmp_path / "source", {f"{DOWN}.{part}": torch.tensor(number)})
    refused(tmp_path, f"{DOWN}.weight", "not above 0")


def test_what_the_config_says_nothing_of_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "source", "fp8")
    rewritten(tmp_path / "source", {"model.extra.weight": torch.ones(3).half()})
    refused(tmp_path, "model.extra.weight")


def test_zeros_that_are_not_in_the_middle_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "source", "gptq")
    zeros = tiny_quantised.words(torch.full((4, 256), 4), 4)
    rewritten(tmp_path / "source", {f"{DOWN}.qzeros": zeros})
    refused(tmp_path, "not in the middle")


def test_groups_that_ranks_cut_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "source", "gptq")
    with pytest.raises(PlanError, match="64 inputs, which groups of 128"):
        convert_stored(tmp_path / "source", tmp_path / "out", Ranks(Division(4)))


def test_qwen_has_its_biases_beside(tmp_path: Path) -> None:
    modules = write(tmp_path / "source", "gptq", "qwen2")
    (held,) = converted(tmp_path)
    assert held[f"{LAYER}attention.qkv.bias"].shape == (512,)
    numbers = torch.cat([modules[f"model.layers.0.self_attn.{one}_proj"][1] for one in "qkv"])
    assert torch.equal(unpacking.outputs(held[f"{LAYER}attention.qkv.weight"]), numbers)
