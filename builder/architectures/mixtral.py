"""Mixtral 8x7B and 8x22B: Mistral's graph, with eight feed-forward networks of which each token takes two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from builder import decoder
from builder.architecture import MixtureDimensions, count
from builder.errors import SourceError

HUGGING_FACE_CLASS: str = "MixtralForCausalLM"
PIPELINES: tuple[str, ...] = ("text_generation",)
EXPORTER: str = ""

_EXPERT = "model.layers.{layer}.block_sparse_moe.experts.{expert}"
HUGGING_FACE: Mapping[str, str] = {
    **{role: name for role, name in decoder.HUGGING_FACE.items() if role not in ("gate", "up", "down")},
    "router": "model.layers.{layer}.block_sparse_moe.gate.weight",
    "expert_gate": f"{_EXPERT}.w1.weight",
    "expert_up": f"{_EXPERT}.w3.weight",
    "expert_down": f"{_EXPERT}.w2.weight",
}
GGUF: Mapping[str, str] = {}
GGUF_PERMUTED: frozenset[str] = frozenset()

DEFAULT_EXPERTS, DEFAULT_EXPERTS_PER_TOKEN = 8, 2
DEFAULTS = {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 1e6}}
"""What transformers takes when the fields are absent."""


def dimensions(config: Mapping[str, Any]) -> MixtureDimensions:
    """Read the dimensions; the window counts wherever there is one."""
    window = count(config, "sliding_window") if config.get("sliding_window") is not None else None
    dense = decoder.read_dimensions(
        {**DEFAULTS, **config},
        require=(*decoder.REQUIRED, "num_key_value_heads"),
        sliding_window=window,
    )
    experts = count(config, "num_local_experts", DEFAULT_EXPERTS)
    taken = count(config, "num_experts_per_tok", DEFAULT_EXPERTS_PER_TOKEN)
    if taken > experts:
        raise SourceError(
            f"config.json: num_experts_per_tok is {taken} of {experts} experts",
            expected="at most num_local_experts",
            remedy="take config.json from the model's own repository again",
        )
    known = {field.name: getattr(dense, field.name) for field in fields(dense)}
    return MixtureDimensions(**known, experts=experts, experts_per_token=taken)
