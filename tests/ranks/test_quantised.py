"""Quantised ranks: their tensors are those of TensorRT-LLM's classes, and stand for the source's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantised_decoders
import rank_reader
import torch
from safetensors.torch import load_file, save_file

from builder.errors import ConversionError, PlanError, SourceError, UsageError
from builder.ranks.convert import Ranks
from builder.ranks.division import Division
from builder.ranks.quantised import Quantised, convert_quantised

HALF, FLOAT, FP8, INT8 = torch.float16, torch.float32, torch.float8_e4m3fn, torch.int8
LAYER = "transformer.layers.0."
SHAPES = {
    "attention.qkv": (512, 256),
    "attention.dense": (256, 256),
    "mlp.fc": (512, 256),
    "mlp.proj": (256, 512),
    "mlp.gate": (512, 256),
}
"""[outputs, inputs] of what the tables below are of: hidden size 256, 4 heads of 64 on 2, 512 between."""

Told = dict[str, tuple[Any, tuple[int, ...]]]


def of_fp8(outputs: int, inputs: int) -> Told:
    return {
        "weight": (FP8, (outputs, inputs)),
        "activation_scaling_factor": (FLOAT, (1,)),
        "weights_scaling_factor": (FLOAT, (1,)),
    }


def of_smoothquant(outputs: int, inputs: int) -> Told:
    return {
        "weight": (INT8, (outputs, inputs)),
        "activation_scaling_factor": (FLOAT, (1,)),
        "weights_scaling_factor": (FLOAT, (outputs,)),
        "prequant_scaling_factor": (HALF, (inputs,)),
    }


def of_awq(outputs: int, inputs: int) -> Told:
    # before trtllm-build interleaves it for a GPU: [inputs, outputs / 4] as float16 afterwards
    return {
        "weight": (INT8, (outputs // 2, inputs)),
        "weights_scaling_factor": (FLOAT, (outputs, inputs // 128)),
        "prequant_scaling_factor": (HALF, (inputs,)),
    }


def of_w4a8_awq(outputs: int, inputs: int) -> Told:
    # trtllm-build makes `alpha` of both scalars
    return of_awq(outputs, inputs) | {
        "activation_scaling_factor": (FLOAT, (1,)),
        "weights_scaling_factor_2": (FLOAT, (1,)),
    }


KEPT = ["lm_head", "*router", "*vocab_embedding"]
CLASSES = {"fp8": of_fp8, "smoothquant": of_smoothquant, "awq": of_awq, "w4a8_awq": of_w4a8_awq}
"""What the model classes of TensorRT-LLM 0.16 declare of a module, by its `named_parameters`."""


def found_in(folder: Path) -> dict[str, tuple[Any, tuple[int, ...]]]:
    held = load_file(folder / "out" / "rank0.safetensors")
    return {name: (one.dtype, tuple(one.shape)) for name, one in held.items() if name.startswith(LAYER)}


@pytest.mark.parametrize("method", CLASSES)
def test_tensors_are_those_of_the_classes(method: str, tmp_path: Path) -> None:
    quantised_decoders.converted(tmp_path, "llama", method, Division(1))
    expected = {
        f"{LAYER}{module}.{part}": told
        for module, shape in SHAPES.items()
        for part, told in CLASSES[method](*shape).items()
    }
    expected |= {f"{LAYER}{norm}_layernorm.weight": (HALF, (256,)) for norm in ("input", "post")}
    assert found_in(tmp_path) == expected


def test_tensors_of_experts_are_those_of_the_classes(tmp_path: Path) -> None:
    quantised_decoders.converted(tmp_path, "mixtral", "fp8", Division(1), num_local_experts=4)
    expected = {
        f"{LAYER}{module}.{part}": told
        for module in ("attention.qkv", "attention.dense")
        for part, told in of_fp8(*SHAPES[module]).items()
    }
    expected |= {f"{LAYER}{norm}_layernorm.weight": (HALF, (256,)) for norm in ("input", "post")}
    expected[f"{LAYER}mlp.router.weight"] = (FLOAT, (4, 256))
    for name, shape in (("fc", (4, 1024, 256)), ("proj", (4, 256, 512))):
        expected[f"{LAYER}mlp.{name}.weight"] = (FP8, shape)
        expected[f"{LAYER}mlp.{name}.activation_scaling_factor"] = (FLOAT, (1,))
        expected[f"{LAYER}mlp.{name}.weights_scaling_factor"] = (FLOAT, (4, 1))
    assert found_in(tmp_path) == expected


@pytest.mark.parametrize(
    ("method", "quantization"),
    [
        ("fp8", {"quant_algo": "FP8"}),
        ("smoothquant", {"quant_algo": "W8A8_SQ_PER_CHANNEL"}),
        *(
            (
                method,
                {
                    "quant_algo": algorithm,
                    "group_size": 128,
                    "has_zero_point": False,
                    "pre_quant_scale": True,
                },
            )
            for method, algorithm in (("awq", "W4A16_AWQ"), ("w4a8_awq", "W4A8_AWQ"))
        ),
    ],
)
@pytest.mark.parametrize("cache", [False, True])
def test_config_says_how(method: str, quantization: dict[str, Any], cache: bool, tmp_path: Path) -> None:
    quantised_decoders.converted(tmp_path, "llama", method, Division(1), cache, num_hidden_layers=1)
    told = json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]
    kept = {"kv_cache_quant_algo": "FP8" if cache else None, "exclude_modules": KEPT}
    assert told == quantization | kept
    assert json.loads((tmp_path / "out" / "calibration.json").read_text()) == {"sha256": "of the data"}


def test_scales_of_the_cache(tmp_path: Path) -> None:
    quantised_decoders.converted(tmp_path, "llama", "awq", Division(2, 2), cache=True)
    for rank, layer in ((0, 0), (1, 0), (2, 1), (3, 1)):
        held = load_file(tmp_path / "out" / f"rank{rank}.safetensors")
        key, value = 900 / 448, (5 + 448 * (4 + layer)) / 448
        for name, scale in (("kv", max(key, value)), ("k", key), ("v", value)):
            found = held[f"{LAYER}attention.{name}_cache_scaling_factor"]
            torch.testing.assert_close(found, torch.tensor([scale]))


DIVISIONS = [
    ("llama", {}, "fp8", Division(1)),
    ("llama", {"tie_word_embeddings": True, "vocab_size": 97}, "fp8", Division(2, 2)),
    ("llama", {"num_key_value_heads": 1}, "awq", Division(2)),
    ("llama", {"attention_bias": True, "mlp_bias": True}, "w4a8_awq", Division(2)),
    ("mistral", {}, "smoothquant", Division(4)),
    ("qwen2", {}, "awq", Division(1, 2)),
    ("qwen2", {"num_key_value_heads": 1}, "smoothquant", Division(4)),
    ("qwen3", {}, "w4a8_awq", Division(2)),
    ("mixtral", {"num_local_experts": 4}, "fp8", Division(2)),
    ("mixtral", {"num_local_experts": 4}, "fp8", Division(4, 1, 2)),
]


@pytest.mark.parametrize(("model_type", "changed", "method", "division"), DIVISIONS)
def test_what_is_stored_stands_for_the_source(
    model_type: str, changed: dict[str, Any], method: str, division: Division, tmp_path: Path
) -> None:
    weights = quantised_decoders.converted(tmp_path, model_type, method, division, **changed)
    for kind in ("values", "errors"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_bytes((tmp_path / "out" / "config.json").read_bytes())
    for rank in range(division.ranks):
        values, errors = read_back(load_file(tmp_path / "out" / f"rank{rank}.safetensors"))
        save_file(values, tmp_path / "values" / f"rank{rank}.safetensors")
        save_file(errors, tmp_path / "errors" / f"rank{rank}.safetensors")
    values, errors = rank_reader.rebuild(tmp_path / "values"), rank_reader.rebuild(tmp_path / "errors")
    assert weights.keys() <= values.keys()
    for name, weight in weights.items():
        # a float16 that was divided, multiplied and rounded three times on the way
        allowed = errors[name] + 2.0**-9 * np.abs(weight.astype(np.float32)) * bool(errors[name].any())
        assert (np.abs(values[name] - weight) <= allowed).all(), name
    matrix = values["model.layers.1.self_attn.o_proj.weight"]
    assert np.corrcoef(matrix.ravel(), weights["model.layers.1.self_attn.o_proj.weight"].ravel())[0, 1] > 0.98


def read_back(held: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a rank's weights in float32, and how far rounding to the format can have moved each of them."""
    values = {}
    errors = {}
    for name, stored in held.items():
        if not name.endswith(("weight", "bias")):
            continue
        module = name.removesuffix("weight")
        scale, smoothing = (held.get(f"{module}{part}_scaling_factor") for part in ("weights", "prequant"))
        if scale is None:
            values[name], errors[name] = stored.float(), torch.zeros(stored.shape)
            continue
        if stored.dtype == FP8:
            scale = scale.reshape(-1, 1, 1) if stored.dim() == 3 else scale
            values[name] = stored.float() * scale
            # three bits after the point, of numbers above 2 ** -6
            errors[name] = torch.maximum(values[name].abs() * 2.0**-4 / (1 - 2.0**-4), scale * 2.0**-10)
            continue
        if scale.dim() == 2:
            # two outputs in a byte, the lower bits first, in two's complement
            low, high = (stored << 4) >> 4, stored >> 4
            stored = torch.stack((low, high), dim=1).reshape(-1, stored.shape[1])
            step = scale.repeat_interleave(128, dim=1)
        else:
            step = scale[:, None]
        values[name] = stored.float() * step * smoothing.float()
        # a hair above half: the scale is rounded as well
        errors[name] = (step * smoothing.float() * 0.502).expand(values[name].shape).contiguous()
    return values, errors


def refused(
    folder: Path, error: type[Exception], words: list[str], method: str = "fp8", ranks: Ranks | None = None
) -> None:
    """See that a source is refused before anything is measured, and that nothing is written."""

    def measure(*_: Any) -> Any:
        raise AssertionError("measured what cannot be converted")

    asked = Quantised(ranks or Ranks(Division(1)), method)
    with pytest.raises(error) as told:
        convert_quantised(folder / "source", folder / "out", asked, measure)
    for word in words:
        assert word in str(told.value)
    assert [one.name for one in folder.iterdir()] == ["source"]


@pytest.mark.parametrize("number", [0.0, 0.25])
def test_a_constant_matrix_is_refused(number: float, tmp_path: Path) -> None:
    weights = quantised_decoders.write(tmp_path / "source", "llama")
    weights["model.layers.1.mlp.down_proj.weight"][:] = number
    quantised_decoders.rewrite(tmp_path / "source", weights)
    refused(tmp_path, SourceError, ["model.layers.1.mlp.down_proj.weight", "131,072", "constant"])


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight"]
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_refused(name: str, number: float, tmp_path: Path) -> None:
    weights = quantised_decoders.write(tmp_path / "source", "llama")
    weights[name][3, 5] = number
    quantised_decoders.rewrite(tmp_path / "source", weights)
    refused(tmp_path, SourceError, [name, "1 NaN or infinite"])


@pytest.mark.parametrize(
    ("changed", "method", "division", "words"),
    [
        ({"hidden_size": 192}, "awq", Division(1), ["attention.qkv has 192 inputs", "128"]),
        ({}, "w4a8_awq", Division(4), ["rank0", "attention.dense has 64 inputs", "128"]),
        ({"intermediate_size": 640}, "awq", Division(2), ["mlp.proj has 320 inputs", "128"]),
        ({"intermediate_size": 129 * 2}, "awq", Division(2), ["mlp.fc has 129 outputs", "share a byte"]),
    ],
)
def test_groups_that_do_not_divide_are_refused(
    changed: dict[str, Any], method: str, division: Division, words: list[str], tmp_path: Path
) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", **changed)
    refused(tmp_path, PlanError, words, method, Ranks(division))


@pytest.mark.parametrize("method", ["awq", "w4a8_awq", "smoothquant"])
def test_experts_only_in_fp8(method: str, tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "mixtral", num_local_experts=4)
    refused(tmp_path, PlanError, ["4 experts", "--method fp8"], method)


def test_unknown_method_is_refused(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)
    refused(tmp_path, UsageError, ["'int3'", "awq, fp8, smoothquant, w4a8_awq"], "int3")


def test_float32_is_refused(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)
    refused(tmp_path, UsageError, ["float32", "--dtype bf16"], ranks=Ranks(Division(1), "fp32"))


def test_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        convert_quantised(tmp_path / "source", tmp_path / "out", Quantised(Ranks(Division(1)), "fp8"), None)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "theirs").read_text() == "kept"


def test_what_fails_while_it_measures_leaves_nothing(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)

    def measure(*_: Any) -> Any:
        raise ConversionError("no token reached it")

    with pytest.raises(ConversionError):
        convert_quantised(
            tmp_path / "source", tmp_path / "out", Quantised(Ranks(Division(1)), "fp8"), measure
        )
    assert [one.name for one in tmp_path.iterdir()] == ["source"]
