"""NVIDIA ModelOpt: FP8, NVFP4 or AWQ weights, described in config.json or, by older versions, beside it.

FP8: `weight` float8_e4m3 [outputs, inputs], `weight_scale` float32 for the tensor, for each output, or for
blocks. NVFP4: `weight` uint8 [outputs, inputs / 2] of two float4_e2m1, `weight_scale` float8_e4m3
[outputs, inputs / 16], `weight_scale_2` float32; all are multiplied (vLLM 0.22, quantization/modelopt.py).
W4A16_AWQ: `weight` uint8 [outputs / 2, inputs], the even output in the low bits, `weight_scale` [outputs,
inputs / 128], and `pre_quant_scale` [inputs] of inputs that no norm before them smooths (ModelOpt 0.47,
torch/export/unified_export_hf.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import engine_layouts, unpacking
from builder.weight_format import Kernel, Stored, field_of, taken
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
AWQ = "W4A16_AWQ"
ENGINES = {"FP8": engine_layouts.FLOAT8, AWQ: engine_layouts.INT4}
SHARED = {
    "FP8": "float8_e4m3 weights and activations, a scale for each tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "float8_e4m3 weights and activations, a scale for each output and token",
    "FP8_PB_WO": "float8_e4m3 weights in blocks of 128 x 128",
    "NVFP4": "float4_e2m1 weights and activations in groups of 16",
    AWQ: "4-bit weights in groups of 128, smoothed",
}
BLOCK = 128
UNPLANNED = "nvfp4"
"""A KV cache that engines would keep in 4 bits, and whose room is not counted here."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `quant_algo` and the KV cache's, of config.json's form and of hf_quant_config.json's."""
    inner = field_of(told, "quantization", kind=dict, default=told)
    algorithm = field_of(inner, "quant_algo", kind=str).upper()
    cache = _cache(inner)
    return Stored(
        name="modelopt",
        scheme=f"ModelOpt {algorithm}{f': {SHARED[algorithm]}' if algorithm in SHARED else ''}",
        bits={"NVFP4": 4 + 8 / 16, AWQ: 4 + 16 / 128}.get(algorithm, 8),
        rounds_activations=algorithm != AWQ,
        cache=cache,
        group={"NVFP4": 16, "FP8_PB_WO": BLOCK, AWQ: engine_layouts.GROUP}.get(algorithm, 0),
        **_taken(inner, algorithm, cache),
    )


def _taken(inner: Mapping[str, Any], algorithm: str, cache: str) -> dict[str, Any]:
    if cache == UNPLANNED:
        reason = "a KV cache of NVFP4 is not planned here, only of FP8"
        return taken(vllm=reason, llmapi=reason, tensorrtllm=reason)
    found: dict[str, Kernel | str] = {
        "vllm": KERNELS.get(algorithm, f"only {', '.join(KERNELS)} are read here, not {algorithm}"),
        "tensorrtllm": ENGINES.get(algorithm, f"only {', '.join(ENGINES)} are read here, not {algorithm}"),
    }
    group = field_of(inner, "group_size", kind=int, default=engine_layouts.GROUP)
    if algorithm == AWQ and group != engine_layouts.GROUP:
        found["tensorrtllm"] = engine_layouts.GROUPS
    if algorithm in LLM_API:
        found["llmapi"] = LLM_API[algorithm]
    return taken(**found)


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
    algorithm = inner["quant_algo"].upper()
    if algorithm == AWQ:
        return {"weight": (outputs // 2, inputs)}
    return {"weight": (outputs, inputs // 2 if algorithm == "NVFP4" else inputs)}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    stored, scale = parts["weight"], parts["weight_scale"].float()
    inner = field_of(told, "quantization", kind=dict, default=told)
    if inner["quant_algo"].upper() == AWQ:
        found = unpacking.scaled(unpacking.outputs(stored).float(), scale, None)
        return found * parts["pre_quant_scale"].float() if "pre_quant_scale" in parts else found
    if "weight_scale_2" in parts:
        numbers = unpacking.float4(stored)
        scale = scale.repeat_interleave(numbers.shape[1] // scale.shape[1], dim=1)
        return numbers * scale * parts["weight_scale_2"].float()
    if scale.dim() == 4:
        # blocks are written as [outputs / 128, 1, inputs / 128, 1]
        scale = scale.squeeze(3).squeeze(1)
    return unpacking.scaled(stored.float(), scale, [BLOCK, BLOCK])
