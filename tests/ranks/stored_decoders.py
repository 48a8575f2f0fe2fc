"""Decoders that are quantised already as TensorRT-LLM's engines take them: numbers are drawn, then packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import quantised_decoders
import tiny_decoders
import tiny_quantised
import torch

STATIC = {"quant_method": "fp8", "activation_scheme": "static"}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "symmetric": True, "group_size": 128}


def compressed(layout: str, weights: Any, inputs: Any = None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group}}


def gptq(outputs: int, inputs: int) -> tuple[dict[str, Any], Any, Any]:
    numbers, scales = (
        torch.randint(0, 16, (inputs, outputs)),
        (torch.rand(inputs // 128, outputs) + 0.1).half(),
    )
    parts = {
        "qweight": tiny_quantised.words(numbers.T, 4).T.contiguous(),
        # a zero of 8 is stored as 7
        "qzeros": tiny_quantised.words(torch.full((inputs // 128, outputs), 7), 4),
        "scales": scales,
        "g_idx": (torch.arange(inputs) // 128).to(torch.int32),
    }
    return parts, (numbers.T - 8).to(torch.int8), scales.T.float()


def packed(outputs: int, inputs: int) -> tuple[dict[str, Any], Any, Any]:
    numbers, scales = (
        torch.randint(0, 16, (outputs, inputs)),
        (torch.rand(outputs, inputs // 128) + 0.1).bfloat16(),
    )
    parts = {
        "weight_packed": tiny_quantised.words(numbers, 4),
        "weight_scale": scales,
        "weight_shape": torch.tensor([outputs, inputs]),
    }
    return parts, (numbers - 8).to(torch.int8), scales.float()


def modelopt_awq(outputs: int, inputs: int) -> tuple[dict[str, Any], Any, Any]:
    numbers, scales = torch.randint(-8, 8, (outputs, inputs)), torch.rand(outputs, inputs // 128) + 0.1
    low, high = numbers[0::2] & 15, numbers[1::2] & 15
    return (
        {"weight": (low | high << 4).to(torch.uint8), "weight_scale": scales},
        numbers.to(torch.int8),
        scales,
    )


def float8(outputs: int, inputs: int) -> tuple[dict[str, Any], Any, Any]:
    numbers, scale = torch.randn(outputs, inputs).to(torch.float8_e4m3fn), torch.rand(()) + 0.5
    return {"weight": numbers, "weight_scale": scale, "input_scale": torch.rand(()) + 0.5}, numbers, scale


WAYS = {
    "gptq": (gptq, GPTQ),
    "compressed-int4": (packed, compressed("pack-quantized", INT4)),
    "modelopt-awq": (modelopt_awq, {**MODELOPT, "quant_algo": "W4A16_AWQ"}),
    "fp8": (float8, STATIC),
    "modelopt-fp8": (float8, MODELOPT),
    "compressed-fp8": (float8, compressed("float-quantized", FLOAT8, FLOAT8)),
}
Modules = dict[str, tuple[dict[str, Any], Any, Any]]


SIZES = ("num_hidden_layers", "num_local_experts", "tie_word_embeddings")


CACHES = {"modelopt-fp8": ("k_proj.k_scale", "v_proj.v_scale"), "compressed-fp8": ("k_scale", "v_scale")}
"""What scales of keys and of values are called behind the attention's name."""


def scale_cache(folder: Path, way: str, *values: tuple[float, float]) -> None:
    """Add scales of keys and values, a pair for each layer."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    scales = {
        f"model.layers.{layer}.self_attn.{name}": torch.tensor(value)
        for layer, pair in enumerate(values)
        for name, value in zip(CACHES[way], pair, strict=True)
    }
    save_file(load_file(path) | scales, path)


def write(folder: Path, way: str, model_type: str = "llama", **changed: Any) -> Modules:
    """Write a quantised decoder; return parts, numbers and scales of every module.

    `changed` are fields of its config of the names in SIZES, and of its description.
    """
    torch.manual_seed(0)
    sizes = {name: changed.pop(name) for name in SIZES if name in changed}
    described = changed
    told = tiny_decoders.config(model_type, **{**quantised_decoders.SIZES, "num_hidden_layers": 1, **sizes})
    make, description = WAYS[way]
    held, modules = {}, {}
    for name, weight in tiny_decoders.weights(told).items():
        if weight.ndim == 2 and name.startswith("model.layers"):
            module = name.removesuffix(".weight")
            modules[module] = make(*weight.shape)
            held |= {f"{module}.{part}": one for part, one in modules[module][0].items()}
        else:
            held[name] = torch.from_numpy(weight).half()
    folder.mkdir(exist_ok=True)
    tiny_decoders.write(folder, {**told, "quantization_config": {**description, **described}}, held)
    return modules
