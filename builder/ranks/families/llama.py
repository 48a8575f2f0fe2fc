"""Llama, and what shares its graph: biases where the config says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions
from builder.ranks import rules
from builder.ranks.rules import Rule

ARCHITECTURE: str = "LlamaForCausalLM"
RULES: tuple[Rule, ...] = rules.DENSE


def settings(config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
    """Say which layers have biases."""
    return {"attn_bias": dimensions.attention_bias, "mlp_bias": dimensions.mlp_bias}


def windows(config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
    """Llama has none."""
    return ()
