"""GPTQ: symmetric 4 bits in groups of 128 inputs in a row, which is AWQ's layout with nothing smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.ranks import stored
from builder.ranks.quantization import Matrix
from builder.ranks.quantizations import awq
from builder.weight_formats import gptq

CACHE: tuple[str, str] = ("k_scale", "v_scale")


def method(told: Mapping[str, Any]) -> str:
    """Refuse 8 bits, other groups, zero points and groups by activations."""
    scheme, group = gptq.read(told).scheme, told.get("group_size")
    if told.get("bits") != 4 or group != awq.GROUP_SIZE:
        raise stored.refusal(f"{scheme}: 4 bits in groups of {awq.GROUP_SIZE} are wanted")
    if not told.get("sym", True) or told.get("desc_act"):
        raise stored.refusal(
            f"{scheme}: zero points, and groups by activations, TensorRT-LLM keeps in a layout of one GPU"
        )
    return "awq"


def matrix(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
    """Return a matrix and its scales [outputs, groups]; raise SourceError for uneven zeros."""
    weight, scale = gptq.weight(told, parts), parts["scales"].float().T.contiguous()
    numbers = weight.reshape(*scale.shape, -1) / scale.unsqueeze(2)
    if float(numbers.min()) < -8.5 or float(numbers.max()) > 7.5:
        raise stored.refusal("GPTQ with zero points that are not in the middle")
    return Matrix(weight, scale=scale)
