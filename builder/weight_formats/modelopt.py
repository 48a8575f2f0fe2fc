"""NVIDIA ModelOpt: FP8 or NVFP4 weights, described in config.json or, by older versions, beside it.

FP8: `weight` float8_e4m3 [outputs, inputs], `weight_scale` float32 for the tensor, for each output, or for
blocks. NVFP4: `weight` uint8 [outputs, inputs / 2] of two float4_e2m1, `weight_scale` float8_e4m3
[outputs, inputs / 16], `weight_scale_2` float32; all are multiplied (vLLM 0.22, quantization/modelopt.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import unpacking
from builder.weight_format import Kernel, Stored, field_of
from builder.weights import Shape

MARKS = ("weight_scale",)
KERNELS = {
    "FP8": Kernel("modelopt", "8.9"),
    "FP8_PER_CHANNEL_PER_TOKEN": Kernel("modelopt", "8.9"),
    "FP8_PB_WO": Kernel("modelopt", "8.9"),
    "NVFP4": Kernel("modelopt_fp4", "7.5"),
}
"""get_min_capability of ModelOptFp8Config and ModelOptNvFp4Config, by `quant_algo`."""
LLM_API = {"FP8": Kernel("FP8", "8.9"), "NVFP4": Kernel("NVFP4", "10.0")}
"""What TensorRT-LLM reads in hf_quant_config.json (its docs/source/features/quantization.md)."""
SHARED = {
    "FP8": "float8_e4m3 weights and activations, a scale for each tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "float8_e4m3 weights and activations, a scale for each output and token",
    "FP8_PB_WO": "float8_e4m3 weights in blocks of 128 x 128",
    "NVFP4": "float4_e2m1 weights and activations in groups of 16",
}
BLOCK = 128
UNPLANNED = "nvfp4"
"""A KV cache that engines would keep in 4 bits, and whose room is not counted here."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `quant_algo` and the KV cache's, of config.json's form and of hf_quant_config.json's."""
    inner = field_of(told, "quantization", kind=dict, default=told)
    algorithm = field_of(inner, "quant_algo", kind=str).upper()
    known = algorithm in KERNELS
    refused = {} if known else {"vllm": f"only {', '.join(KERNELS)} are read here, not {algorithm}"}
    cache = _cache(inner)
    if cache == UNPLANNED:
        refused = dict.fromkeys(("vllm", "llmapi"), "a KV cache of NVFP4 is not planned here, only of FP8")
    return Stored(
        name="modelopt",
        scheme=f"ModelOpt {algorithm}: {SHARED[algorithm]}" if known else f"ModelOpt {algorithm}",
        bits=4 + 8 / 16 if algorithm == "NVFP4" else 8,
        kernels={} if cache == UNPLANNED else _kernels(algorithm),
        rounds_activations=True,
        cache=cache,
        group={"NVFP4": 16, "FP8_PB_WO": BLOCK}.get(algorithm, 0),
        refused=refused,
    )


def _kernels(algorithm: str) -> dict[str, Kernel]:
    offered = {"vllm": KERNELS.get(algorithm), "llmapi": LLM_API.get(algorithm)}
    return {target: kernel for target, kernel in offered.items() if kernel is not None}


def _cache(inner: Mapping[str, Any]) -> str:
    scheme = inner.get("kv_cache_scheme") or inner.get("kv_cache_quant_algo")
    if isinstance(scheme, Mapping):
        bits = scheme.get("num_bits") if scheme.get("type") == "float" else None
        return "fp8" if bits == 8 else UNPLANNED if bits == 4 else ""
    # of any other vLLM takes no notice (utils/torch_utils.py, get_kv_cache_quant_algo_string)
    return {"FP8": "fp8", "NVFP4": UNPLANNED}.get(str(scheme).upper(), "")


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    inner = field_of(told, "quantization", kind=dict, default=told)
    return {"weight": (outputs, inputs // 2 if inner["quant_algo"].upper() == "NVFP4" else inputs)}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    stored, scale = parts["weight"], parts["weight_scale"].float()
    if "weight_scale_2" in parts:
        numbers = unpacking.float4(stored)
        scale = scale.repeat_interleave(numbers.shape[1] // scale.shape[1], dim=1)
        return numbers * scale * parts["weight_scale_2"].float()
    if scale.dim() == 4:
        # blocks are written as [outputs / 128, 1, inputs / 128, 1]
        scale = scale.squeeze(3).squeeze(1)
    return unpacking.scaled(stored.float(), scale, [BLOCK, BLOCK])
