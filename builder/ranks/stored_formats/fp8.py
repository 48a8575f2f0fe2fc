"""FP8 as transformers writes it: taken with one scale for each matrix and one for its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ranks import rounding, stored
from builder.ranks.quantization import Matrix
from builder.weight_formats import fp8

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix, its scale and the largest input that the scale of inputs stands for."""
    scale = next(parts[mark] for mark in fp8.MARKS if mark in parts)
    return of_float8(fp8.weight(told, parts), scale, parts)


def of_float8(weight: Any, scale: Any, parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix of float8; raise SourceError where it has other than one scale and one of inputs."""
    if scale.numel() != 1 or "input_scale" not in parts or parts["input_scale"].numel() != 1:
        raise stored.refusal(f"float8 with {scale.numel():,} scales for one matrix and its inputs")
    return Matrix(
        weight, input=parts["input_scale"].float().reshape(()) * rounding.FLOAT8_LARGEST, scale=scale
    )
