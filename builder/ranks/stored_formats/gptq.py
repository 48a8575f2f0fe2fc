"""GPTQ: symmetric 4 bits in groups of 128 inputs in a row, which is AWQ's layout with nothing smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ranks import headers
from builder.ranks.quantization import Matrix
from builder.source import TensorInfo
from builder.weight_formats import gptq

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def require(told: Mapping[str, Any], parts: Mapping[str, TensorInfo]) -> None:
    """Let all pass: the description told it, but for what only the numbers tell."""


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales [outputs, groups]; raise SourceError for uneven zeros."""
    weight, scale = gptq.weight(told, parts), parts["scales"].float().T.contiguous()
    numbers = weight.reshape(*scale.shape, -1) / scale.unsqueeze(2)
    if float(numbers.min()) < -8.5 or float(numbers.max()) > 7.5:
        raise headers.refusal("GPTQ with zero points that are not in the middle")
    return Matrix(weight, scale=scale)
