"""compressed-tensors, as LLM Compressor writes it: FP8 with one scale a matrix, and symmetric 4 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ranks import headers
from builder.ranks.quantization import Matrix
from builder.ranks.stored_formats import fp8
from builder.source import TensorInfo
from builder.weight_formats import compressed_tensors

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def require(told: Mapping[str, Any], parts: Mapping[str, TensorInfo]) -> None:
    """Raise SourceError for FP8 of several scales, and for 4 bits in groups of inputs not in a row."""
    if "weight_packed" not in parts:
        fp8.require_one(parts["weight_scale"], parts)
    elif "weight_g_idx" in parts:
        raise headers.refusal("4 bits with groups by activations: a group is to be 128 inputs in a row")


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales."""
    weight, scale = compressed_tensors.weight(told, parts), parts["weight_scale"]
    if "weight_packed" not in parts:
        return fp8.of_float8(weight, scale, parts)
    return Matrix(weight, scale=scale.float())
