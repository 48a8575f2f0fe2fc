"""FP8 as transformers writes it: taken with one scale for each matrix and one for its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from builder.ranks import headers, rounding
from builder.ranks.quantization import Matrix
from builder.source import TensorInfo
from builder.weight_formats import fp8

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def require(told: Mapping[str, Any], parts: Mapping[str, TensorInfo]) -> None:
    """Raise SourceError where a matrix has other than one scale and one of inputs."""
    require_one(parts[next(mark for mark in fp8.MARKS if mark in parts)], parts)


def require_one(scale: TensorInfo, parts: Mapping[str, TensorInfo]) -> None:
    """Raise SourceError for a matrix of float8 whose scale, or that of whose inputs, is not one number."""
    if math.prod(scale.shape) != 1:
        raise headers.refusal(f"float8 with {math.prod(scale.shape):,} scales for one matrix")
    if "input_scale" not in parts or math.prod(parts["input_scale"].shape) != 1:
        raise headers.refusal(f"float8, and beside {scale.name} no one scale of its inputs")


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix, its scale and the largest input that the scale of inputs stands for."""
    scale = next(parts[mark] for mark in fp8.MARKS if mark in parts)
    return of_float8(fp8.weight(told, parts), scale, parts)


def of_float8(weight: Any, scale: Any, parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix of float8 with its one scale and the one of its inputs."""
    return Matrix(
        weight, input=parts["input_scale"].float().reshape(()) * rounding.FLOAT8_LARGEST, scale=scale
    )
