"""Mistral: Llama's class in TensorRT-LLM; the window of its first release is told to Triton alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions
from builder.ranks import family, rules
from builder.ranks.rules import Rule

ARCHITECTURE: str = "MistralForCausalLM"
RULES: tuple[Rule, ...] = rules.DENSE


def settings(config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
    """Say that there are no biases."""
    return {"attn_bias": False, "mlp_bias": False}


def windows(config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
    """Return the window of all layers alike."""
    return family.of_every_layer(dimensions)
