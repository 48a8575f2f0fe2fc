"""compressed-tensors, as LLM Compressor writes it: FP8 with one scale a matrix, and symmetric 4 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ranks import stored
from builder.ranks.quantization import Matrix
from builder.ranks.quantizations import awq
from builder.ranks.stored_formats import fp8
from builder.weight_formats import compressed_tensors

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def method(told: Mapping[str, Any]) -> str:
    """Tell FP8 of static inputs from 4-bit weights; refuse all else."""
    scheme = compressed_tensors.read(told).scheme
    groups = [one for one in told["config_groups"].values() if one.get("weights")]
    weights, inputs = groups[0]["weights"], groups[0].get("input_activations") or {}
    if any(one["weights"] != weights for one in groups):
        raise stored.refusal(f"{scheme}: all matrices are to be of one scheme")
    is_float8 = weights.get("type") == "float" and weights.get("num_bits") == 8
    if is_float8 and weights.get("strategy") == inputs.get("strategy") == "tensor":
        if not inputs.get("dynamic"):
            return "fp8"
        raise stored.refusal(f"{scheme}: inputs are scaled as they come, one scale for all is wanted")
    is_int4 = weights.get("type") == "int" and weights.get("num_bits") == 4 and not inputs
    if is_int4 and weights.get("symmetric") and weights.get("group_size") == awq.GROUP_SIZE:
        return "awq"
    raise stored.refusal(f"{scheme}: TensorRT-LLM has no layout for it that is the same on every GPU")


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales."""
    weight, scale = compressed_tensors.weight(told, parts), parts["weight_scale"]
    if "weight_packed" not in parts:
        return fp8.of_float8(weight, scale, parts)
    if "weight_g_idx" in parts:
        raise stored.refusal("4 bits with groups by activations: a group is to be 128 inputs in a row")
    return Matrix(weight, scale=scale.float())
