"""Qwen 2 and 2.5: query, key and value always have a bias; a window only in the later layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions, count
from builder.ranks import rules
from builder.ranks.rules import Rule

ARCHITECTURE: str = "Qwen2ForCausalLM"
RULES: tuple[Rule, ...] = rules.DENSE

DEFAULT_LAYERS_WITHOUT = 28
"""What transformers takes where `max_window_layers` is absent."""


def settings(config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
    """Say which of the Qwens it is."""
    return {"qwen_type": "qwen2", "attn_bias": True, "mlp_bias": False}


def windows(config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
    """Return the window of the layers after the first `max_window_layers`, all tokens for those before."""
    if dimensions.sliding_window is None:
        return ()
    without = count(config, "max_window_layers", DEFAULT_LAYERS_WITHOUT, least=0)
    everything, window = dimensions.context_length, dimensions.sliding_window
    return tuple(everything if layer < without else window for layer in range(dimensions.layers))
