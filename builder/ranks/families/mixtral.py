"""Mixtral: Llama's class in TensorRT-LLM, the experts of a layer stacked, their router in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions, MixtureDimensions
from builder.ranks import family, rules
from builder.ranks.rules import Rule

ARCHITECTURE: str = "MixtralForCausalLM"
RULES: tuple[Rule, ...] = rules.MIXTURE

RENORMALIZE = 1
"""The chosen experts' shares sum to one (layers/moe.py, ExpertScaleNormalizationMode)."""


def settings(config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
    """Say how many experts there are; their activation is spelled as a gated one."""
    if not isinstance(dimensions, MixtureDimensions):
        raise TypeError("Bug: a Mixtral whose dimensions have no experts")
    moe = {
        "num_experts": dimensions.experts,
        "top_k": dimensions.experts_per_token,
        "normalization_mode": RENORMALIZE,
    }
    return {"attn_bias": False, "mlp_bias": False, "hidden_act": "swiglu", "moe": moe}


def windows(config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
    """Return the window of all layers alike."""
    return family.of_every_layer(dimensions)
