"""Tiny Llamas whose weights are quantised as the libraries lay them, and the matrices they stand for.

Each way packs numbers and scales that are drawn first, so the matrix is known without unpacking anything.
The packing is that of AutoAWQ 0.2.9 (awq/modules/linear/gemm.py), GPTQModel 7.7 (nn_modules/qlinear),
transformers' and vLLM's FP8, ModelOpt 0.47, compressed-tensors 0.20 (compressors/) and bitsandbytes 0.50
(functional.py). What AutoAWQ, compressed-tensors and bitsandbytes themselves packed and unpacked agreed with
`builder/weight_formats/` when it was tried; they are no dependencies of the tests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import save_file

CONFIG = {
    **tiny.CONFIG,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "torch_dtype": "float16",
}
MATRICES = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (64, 32),
    "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64),
}
NF4 = (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0,
       0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0)  # fmt: skip
FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

Made = tuple[dict[str, torch.Tensor], torch.Tensor]
"""A module's tensors by what follows its name, and the matrix [outputs, inputs] in float32."""


def words(numbers: torch.Tensor, bits: int, order: list[int] | None = None) -> torch.Tensor:
    """Pack the columns of unsigned numbers into int32, the first of a word, or of `order`, lowest."""
    each = 32 // bits
    found = torch.zeros(numbers.shape[0], numbers.shape[1] // each, dtype=torch.int64)
    for word in range(found.shape[1]):
        for place in range(each):
            column = word * each + (order or list(range(each)))[place]
            found[:, word] |= numbers[:, column].long() << (place * bits)
    return torch.where(found >= 2**31, found - 2**32, found).to(torch.int32)


def _drawn(rows: int, columns: int, most: int) -> torch.Tensor:
    return torch.randint(0, most, (rows, columns))


def _scales(*shape: int) -> torch.Tensor:
    return (torch.rand(*shape) * 0.02 + 0.005).half()


def awq(outputs: int, inputs: int) -> Made:
    numbers, zeros = _drawn(inputs, outputs, 16), _drawn(inputs // 32, outputs, 16)
    scales = _scales(inputs // 32, outputs)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    parts = {"qweight": words(numbers, 4, order), "qzeros": words(zeros, 4, order), "scales": scales}
    wide = [tensor.repeat_interleave(32, dim=0).float() for tensor in (zeros, scales)]
    return parts, ((numbers - wide[0]) * wide[1]).T


def _gptq(outputs: int, inputs: int, bits: int, group: torch.Tensor) -> Made:
    groups = int(group.max()) + 1
    numbers, half = _drawn(inputs, outputs, 1 << bits), 1 << (bits - 1)
    scales = _scales(groups, outputs)
    zeros = torch.full((groups, outputs), half - 1)
    parts = {
        "qweight": words(numbers.T, bits).T.contiguous(),
        "qzeros": words(zeros, bits),
        "scales": scales,
        "g_idx": group.to(torch.int32),
    }
    return parts, ((numbers - half) * scales.float()[group]).T


def gptq(outputs: int, inputs: int) -> Made:
    return _gptq(outputs, inputs, 4, torch.arange(inputs) // 32)


def gptq_by_activations(outputs: int, inputs: int) -> Made:
    return _gptq(outputs, inputs, 8, torch.randperm(inputs) // 32)


def _float8(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs).to(torch.float8_e4m3fn)


def fp8_blocks(outputs: int, inputs: int) -> Made:
    weight, scale = _float8(outputs, inputs), torch.rand(-(-outputs // 24), -(-inputs // 24))
    wide = scale.repeat_interleave(24, 0)[:outputs].repeat_interleave(24, 1)[:, :inputs]
    return {"weight": weight, "weight_scale_inv": scale}, weight.float() * wide


def fp8_static(outputs: int, inputs: int) -> Made:
    weight, scale = _float8(outputs, inputs), torch.rand(1)
    parts = {"weight": weight, "weight_scale": scale, "input_scale": torch.rand(1)}
    return parts, weight.float() * scale


def modelopt_fp8(outputs: int, inputs: int) -> Made:
    weight, scale = _float8(outputs, inputs), torch.rand(())
    parts = {
        "weight": weight,
        "weight_scale": scale,
        "input_scale": torch.rand(()),
        "k_scale": torch.rand(()),
    }
    return parts, weight.float() * scale


def _float4(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    codes = _drawn(outputs, inputs, 16)
    numbers = torch.tensor(FLOAT4)[codes & 7] * torch.where(codes >= 8, -1.0, 1.0)
    return (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8), numbers


def modelopt_nvfp4(outputs: int, inputs: int) -> Made:
    packed, numbers = _float4(outputs, inputs)
    scale, outer = torch.rand(outputs, inputs // 16).to(torch.float8_e4m3fn), torch.rand(())
    parts = {"weight": packed, "weight_scale": scale, "weight_scale_2": outer, "input_scale": torch.rand(())}
    return parts, numbers * scale.float().repeat_interleave(16, 1) * outer


def packed_nvfp4(outputs: int, inputs: int) -> Made:
    packed, numbers = _float4(outputs, inputs)
    scale, outer = torch.rand(outputs, inputs // 16).to(torch.float8_e4m3fn), torch.rand(1) + 1
    parts = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": outer}
    return parts, numbers * (scale.float() / outer).repeat_interleave(16, 1)


def float_quantized(outputs: int, inputs: int) -> Made:
    weight, scale = _float8(outputs, inputs), torch.rand(outputs, 1).bfloat16()
    return {"weight": weight, "weight_scale": scale}, weight.float() * scale.float()


def int_quantized(outputs: int, inputs: int) -> Made:
    weight, scale = (_drawn(outputs, inputs, 255) - 127).to(torch.int8), torch.rand(outputs, 1).bfloat16()
    return {"weight": weight, "weight_scale": scale}, weight.float() * scale.float()


def pack_quantized(outputs: int, inputs: int) -> Made:
    numbers, zeros = _drawn(outputs, inputs, 16), _drawn(outputs, inputs // 16, 16)
    scale = _scales(outputs, inputs // 16).bfloat16()
    parts = {
        "weight_packed": words(numbers, 4),
        "weight_zero_point": words(zeros.T, 4).T.contiguous(),
        "weight_scale": scale,
        "weight_shape": torch.tensor([outputs, inputs]),
    }
    return parts, (numbers - zeros.repeat_interleave(16, 1)) * scale.float().repeat_interleave(16, 1)


def bitsandbytes_nf4(outputs: int, inputs: int) -> Made:
    codes, blocks = _drawn(outputs * inputs, 1, 16).flatten(), outputs * inputs // 64
    code_map, scales = torch.linspace(0, 1, 256), torch.randint(0, 256, (blocks,))
    outer, offset = torch.rand(-(-blocks // 256)), 0.25
    state = {
        "quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [outputs, inputs],
        "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset,
    }  # fmt: skip
    parts = {
        "weight": (codes[0::2] << 4 | codes[1::2]).to(torch.uint8)[:, None],
        "weight.absmax": scales.to(torch.uint8),
        "weight.quant_map": torch.tensor(NF4),
        "weight.nested_absmax": outer,
        "weight.nested_quant_map": code_map,
        "weight.quant_state.bitsandbytes__nf4": torch.tensor(
            list(json.dumps(state).encode()), dtype=torch.uint8
        ),
    }
    absmax = code_map[scales] * outer.repeat_interleave(256)[:blocks] + offset
    return parts, (torch.tensor(NF4)[codes] * absmax.repeat_interleave(64)).reshape(outputs, inputs)


def bitsandbytes_int8(outputs: int, inputs: int) -> Made:
    weight, largest = (_drawn(outputs, inputs, 255) - 127).to(torch.int8), torch.rand(outputs)
    parts = {"weight": weight, "SCB": largest, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return parts, weight.float() * largest[:, None] / 127


def _llm_compressor(
    layout: str, weights: dict[str, Any], activations: Any = None, **more: Any
) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors", "format": layout, "ignore": ["lm_head"],
        "config_groups": {"group_0": group}, "kv_cache_scheme": None, **more,
    }  # fmt: skip


FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "group_size": None}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "symmetric": False, "group_size": 16}
CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}
BITS_4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}

WAYS: dict[str, tuple[Callable[[int, int], Made], dict[str, Any]]] = {
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}),
    "gptq": (gptq, GPTQ),
    "gptq-by-activations": (gptq_by_activations, {**GPTQ, "bits": 8, "desc_act": True}),
    "fp8-blocks": (
        fp8_blocks,
        {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [24, 24]},
    ),
    "fp8-static": (fp8_static, {"quant_method": "fp8", "activation_scheme": "static"}),
    "modelopt-fp8": (
        modelopt_fp8,
        {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"], "kv_cache_scheme": CACHE},
    ),
    "modelopt-nvfp4": (modelopt_nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}),
    "compressed-fp8": (
        float_quantized,
        _llm_compressor("float-quantized", FLOAT8, {**FLOAT8, "dynamic": True}, kv_cache_scheme=CACHE),
    ),
    "compressed-int8": (
        int_quantized,
        _llm_compressor("int-quantized", {**FLOAT8, "type": "int"}, {**FLOAT8, "type": "int"}),
    ),
    "compressed-int4": (pack_quantized, _llm_compressor("pack-quantized", INT4)),
    "compressed-nvfp4": (
        packed_nvfp4,
        _llm_compressor(
            "nvfp4-pack-quantized",
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "symmetric": True, "group_size": 16},
        ),
    ),
    "bitsandbytes-nf4": (bitsandbytes_nf4, {"quant_method": "bitsandbytes", **BITS_4}),
    "bitsandbytes-int8": (bitsandbytes_int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
}


def checkpoint(folder: Path, way: str, **described: Any) -> dict[str, torch.Tensor]:
    """Write a folder quantised in this way; return every weight that it stands for, by its plain name.

    `described` are fields of its description that are to be other ones.
    """
    tiny.checkpoint(folder)
    torch.manual_seed(0)
    make, told = WAYS[way]
    held = {
        "model.embed_tokens.weight": torch.randn(16, 32).half(),
        "model.norm.weight": torch.rand(32).half(),
    }
    weights = {name: tensor.float() for name, tensor in held.items()}
    for layer in range(2):
        for name in ("input_layernorm", "post_attention_layernorm"):
            held[f"model.layers.{layer}.{name}.weight"] = torch.rand(32).half()
            weights[f"model.layers.{layer}.{name}.weight"] = held[
                f"model.layers.{layer}.{name}.weight"
            ].float()
        for name, shape in MATRICES.items():
            parts, matrix = make(*shape)
            held |= {f"model.layers.{layer}.{name}.{part}": tensor for part, tensor in parts.items()}
            weights[f"model.layers.{layer}.{name}.weight"] = matrix
    save_file({name: tensor.contiguous() for name, tensor in held.items()}, folder / "model.safetensors")
    config = {**CONFIG, "quantization_config": {**told, **described}}
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def plain(folder: Path, weights: dict[str, torch.Tensor], like: Path) -> None:
    """Write the same model in float32."""
    shutil.copytree(like, folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "torch_dtype": "float32"}))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")


def write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value))
