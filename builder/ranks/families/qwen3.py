"""Qwen 3 (dense): query and key are normalised per head; TensorRT-LLM knows it since 1.0, without biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.architecture import Dimensions
from builder.errors import SourceError
from builder.ranks import rules
from builder.ranks.families import qwen2
from builder.ranks.rules import Rule

ARCHITECTURE: str = "Qwen3ForCausalLM"
RULES: tuple[Rule, ...] = rules.DENSE


def settings(config: Mapping[str, Any], dimensions: Dimensions) -> dict[str, Any]:
    """Say which of the Qwens it is; raise SourceError for one with biases, which it has no graph for."""
    if dimensions.attention_bias:
        raise SourceError(
            "config.json: attention_bias is true",
            expected="false: TensorRT-LLM's Qwen 3 has no biases",
            remedy="run it by another target, such as --target vllm",
        )
    return {"qwen_type": "qwen3", "attn_bias": False, "mlp_bias": False}


def windows(config: Mapping[str, Any], dimensions: Dimensions) -> tuple[int, ...]:
    """Return what Qwen 2 would."""
    return qwen2.windows(config, dimensions)
