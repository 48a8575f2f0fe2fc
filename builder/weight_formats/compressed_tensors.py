"""compressed-tensors, as LLM Compressor writes it: FP8, int8, packed integers or NVFP4, one scheme for all.

`float-quantized`, `int-quantized`, `naive-quantized`: `weight` with `weight_scale` for the tensor, each
output or blocks, and `weight_zero_point` where it is asymmetric. `pack-quantized`: `weight_packed` int32
[outputs, inputs x bits / 32] of numbers raised by half their range, `weight_shape`, `weight_scale` [outputs,
groups], `weight_zero_point` packed along the outputs, `weight_g_idx`. `nvfp4-pack-quantized`: as ModelOpt's,
but divided by `weight_global_scale` (compressed-tensors 0.20, compressors/).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from builder import engine_layouts, unpacking
from builder.errors import SourceError
from builder.weight_format import Kernel, Stored, field_of, taken
from builder.weights import Shape

MARKS = ("weight_packed", "weight_scale")
METHOD = "compressed-tensors"
PLAIN = ("float-quantized", "int-quantized", "naive-quantized")
PACKED = "pack-quantized"
NVFP4 = "nvfp4-pack-quantized"
COMPUTE = "7.5"
"""get_min_capability of CompressedTensorsWNA16, W8A8Int8, W8A16Fp8 (to which W8A8Fp8 falls below 8.9) and
W4A4Fp4 (vLLM 0.22, quantization/compressed_tensors/schemes/)."""


BELOW_OF_INT8 = "10.0"
"""vLLM's kernel of int8 weights and activations ends there (csrc, w8a8/cutlass/c3x/scaled_mm_helper.hpp)."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `format`, the weights of `config_groups`, and `kv_cache_scheme`."""
    layout = field_of(told, "format", kind=str)
    named = field_of(told, "config_groups", kind=dict)
    groups = [field_of(named, name, kind=dict) for name in named]
    groups = [one for one in groups if field_of(one, "weights", kind=dict, default={})]
    if not groups:
        raise SourceError(
            "config.json: quantization_config has no config_groups with weights",
            expected="what compressed-tensors says of them",
            remedy="take config.json from the model's own repository again",
        )
    weights = groups[0]["weights"]
    activations = field_of(groups[0], "input_activations", kind=dict, default={})
    bits = field_of(weights, "num_bits", kind=int)
    kernel = _refused(layout, groups) or Kernel(METHOD, COMPUTE, _below(weights, activations))
    size = field_of(weights, "group_size", kind=int, default=0)
    return Stored(
        name="compressed_tensors",
        scheme=f"compressed-tensors {layout}: {bits}-bit {weights.get('type', 'int')} weights"
        + _shared(weights)
        + (f", {activations.get('num_bits')}-bit activations" if activations else ""),
        bits=bits + (16 / size if size > 0 else 0),
        rounds_activations=bool(activations),
        cache=_cache(told.get("kv_cache_scheme")),
        group=max(0, size),
        **taken(vllm=kernel, tensorrtllm=_engine(layout, groups)),
    )


def _below(weights: Mapping[str, Any], activations: Any) -> str:
    return BELOW_OF_INT8 if activations and weights.get("type", "int") == "int" else ""


def _refused(layout: str, groups: list[Mapping[str, Any]]) -> str:
    """Return why vLLM does not take it, "" where it does."""
    unread = _unread(layout, groups)
    bits = groups[0]["weights"]["num_bits"]
    if not unread and layout == PACKED and bits not in (4, 8):
        return f"vLLM reads packed numbers of 4 and 8 bits, not of {bits}"
    return unread


def _unread(layout: str, groups: list[Mapping[str, Any]]) -> str:
    if layout not in (*PLAIN, PACKED, NVFP4):
        return f"only {', '.join((*PLAIN, PACKED, NVFP4))} are read here, not {layout}"
    if any(one["weights"] != groups[0]["weights"] for one in groups):
        return "only one scheme for all weights is read here"
    return ""


def _engine(layout: str, groups: list[Mapping[str, Any]]) -> Kernel | str:
    """Return the kernel of TensorRT-LLM's engines, or why they have none."""
    unread = _unread(layout, groups)
    if unread:
        return unread
    weights, inputs = groups[0]["weights"], groups[0].get("input_activations") or {}
    if (weights.get("type"), weights.get("num_bits")) == ("float", 8):
        known = weights.get("strategy") == inputs.get("strategy") == "tensor" and not inputs.get("dynamic")
        return engine_layouts.FLOAT8 if known else engine_layouts.INPUTS
    if layout != PACKED or weights.get("num_bits") != 4 or inputs:
        return engine_layouts.NO_LAYOUT
    # a group by activations shows in the tensors alone, unless `actorder` tells it
    alike = weights.get("symmetric") and weights.get("actorder") not in ("group", True)
    in_a_row = alike and weights.get("group_size") == engine_layouts.GROUP
    return engine_layouts.INT4 if in_a_row else engine_layouts.GROUPS


def _shared(weights: Mapping[str, Any]) -> str:
    strategy, size = weights.get("strategy"), weights.get("group_size")
    known = {"tensor": ", a scale for each matrix", "channel": ", a scale for each output"}
    if strategy == "block":
        return f" in blocks of {' x '.join(map(str, field_of(weights, 'block_structure', kind=list)))}"
    return known.get(str(strategy), f" in groups of {size}")


def _cache(scheme: Any) -> str:
    if not isinstance(scheme, Mapping):
        return ""
    return "fp8" if (scheme.get("num_bits"), scheme.get("type")) == (8, "float") else ""


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    if told["format"] in PLAIN:
        return {"weight": (outputs, inputs)}
    if told["format"] == NVFP4:
        return {"weight_packed": (outputs, inputs // 2)}
    args = next(one["weights"] for one in told["config_groups"].values() if one.get("weights"))
    return {"weight_packed": (outputs, math.ceil(inputs * int(args["num_bits"]) / 32))}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    args = next(one["weights"] for one in told["config_groups"].values() if one.get("weights"))
    if "weight_packed" not in parts:
        numbers = parts["weight"].float()
        if "weight_zero_point" in parts:
            numbers = numbers - parts["weight_zero_point"].float()
        return unpacking.scaled(numbers, parts["weight_scale"].float(), args.get("block_structure"))
    if "weight_global_scale" in parts:
        numbers = unpacking.float4(parts["weight_packed"])
        scale = parts["weight_scale"].float() / parts["weight_global_scale"].float()
        return numbers * scale.repeat_interleave(numbers.shape[1] // scale.shape[1], dim=1)
    return _unpacked(parts, int(args["num_bits"]))


def _unpacked(parts: Mapping[str, Any], bits: int) -> Any:
    outputs, inputs = parts["weight_shape"].tolist()
    half, scale = 1 << (bits - 1), parts["weight_scale"].float()
    numbers = unpacking.fields(parts["weight_packed"], bits)[:, :inputs] - half
    of_group = _groups(parts, inputs, scale.shape[1])
    if "weight_zero_point" in parts:
        zeros = unpacking.fields(parts["weight_zero_point"].T, bits).T[:outputs] - half
        numbers = numbers - zeros[:, of_group]
    return numbers * scale[:, of_group]


def _groups(parts: Mapping[str, Any], inputs: int, groups: int) -> Any:
    import torch

    if "weight_g_idx" in parts:
        return parts["weight_g_idx"].long()
    return torch.arange(inputs) // math.ceil(inputs / groups)
