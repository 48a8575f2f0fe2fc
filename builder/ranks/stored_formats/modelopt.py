"""NVIDIA ModelOpt's own checkpoints for Hugging Face: FP8 with a scale for each matrix, and W4A16_AWQ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import unpacking
from builder.ranks import headers
from builder.ranks.quantization import Matrix
from builder.ranks.quantizations import awq
from builder.ranks.stored_formats import fp8
from builder.source import TensorInfo
from builder.weight_formats import modelopt

CACHE: tuple[str, str] = ("k_proj.k_scale", "v_proj.v_scale")


def _inner(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = told.get("quantization", told)
    return found


def _is_float8(told: Mapping[str, Any]) -> bool:
    return str(_inner(told)["quant_algo"]).upper() == "FP8"


def require(told: Mapping[str, Any], parts: Mapping[str, TensorInfo]) -> None:
    """Raise SourceError for FP8 of several scales, and for 4 bits in groups of another size."""
    scale = parts["weight_scale"]
    if _is_float8(told):
        fp8.require_one(scale, parts)
        return
    groups, inputs = (scale.shape or (1,))[-1], parts["weight"].shape[-1]
    if groups * awq.GROUP_SIZE != inputs:
        raise headers.refusal(f"4 bits with {groups} groups of {inputs:,} inputs")


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales; the norm before it smooths, unless it has a `pre_quant_scale`."""
    scale = parts["weight_scale"].float()
    if _is_float8(told):
        return fp8.of_float8(modelopt.weight(told, parts), scale, parts)
    numbers = unpacking.outputs(parts["weight"]).float()
    weight = numbers * scale.repeat_interleave(awq.GROUP_SIZE, dim=1)
    return Matrix(weight, parts.get("pre_quant_scale"), scale=scale)
