"""NVIDIA ModelOpt's own checkpoints for Hugging Face: FP8 with a scale for each matrix, and W4A16_AWQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import unpacking
from builder.ranks import stored
from builder.ranks.quantization import Matrix
from builder.ranks.quantizations import awq
from builder.ranks.stored_formats import fp8
from builder.weight_formats import modelopt

CACHE: tuple[str, str] = ("k_proj.k_scale", "v_proj.v_scale")


def _inner(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = told.get("quantization", told)
    return found


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales; the norm before it smooths, unless it has a `pre_quant_scale`."""
    scale = parts["weight_scale"].float()
    if str(_inner(told)["quant_algo"]).upper() == "FP8":
        return fp8.of_float8(modelopt.weight(told, parts), scale, parts)
    numbers = unpacking.outputs(parts["weight"]).float()
    if scale.shape[1] * awq.GROUP_SIZE != numbers.shape[1]:
        raise stored.refusal(f"4 bits with {scale.shape[1]} groups of {numbers.shape[1]:,} inputs")
    weight = numbers * scale.repeat_interleave(awq.GROUP_SIZE, dim=1)
    return Matrix(weight, parts.get("pre_quant_scale"), scale=scale)
