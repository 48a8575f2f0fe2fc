"""ModernBERT: rotary positions, gated feed-forward, windows in two of three layers (arXiv 2412.13663)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "ModernBertModel"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "model"

SHAPES: Mapping[str, tuple[str, ...]] = {
    **encoder.SHAPES,
    "query_key_value": ("three_hidden", "hidden"),
    "gate_up": ("two_intermediate", "hidden"),
    "final_norm": ("hidden",),
    "pooler_norm": ("hidden",),
}
HUGGING_FACE: Mapping[str, str] = encoder.named(
    {
        "words": "{body}embeddings.tok_embeddings",
        "embedding_norm": "{body}embeddings.norm",
        "attention_norm": "{body}layers.{layer}.attn_norm",
        "query_key_value": "{body}layers.{layer}.attn.Wqkv",
        "attention_output": "{body}layers.{layer}.attn.Wo",
        "feed_forward_norm": "{body}layers.{layer}.mlp_norm",
        "gate_up": "{body}layers.{layer}.mlp.Wi",
        "down": "{body}layers.{layer}.mlp.Wo",
        "final_norm": "{body}final_norm",
    }
)
_HEAD = encoder.named({"pooler": "head.dense", "pooler_norm": "head.norm", "classifier": "classifier"})
HEADS: Mapping[str, Mapping[str, str]] = {
    "ForSequenceClassification": _HEAD,
    "ForTokenClassification": _HEAD,
}


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight; the first layer takes the embeddings as they are, already normalised."""
    absent = _absent_biases(config)
    tensors = {**HUGGING_FACE, **encoder.head(config, HEADS)}
    present = {role: name for role, name in tensors.items() if role not in absent}
    return tuple(
        replace(one, layers=one.layers[1:]) if "attn_norm" in one.name else one
        for one in encoder.weights(present, _sizes(config), SHAPES)
    )


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions; a window narrows what a token sees, not the scores that are computed."""
    return encoder.read_dimensions(_sizes(config), weights(config), gated=True)


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    sizes = encoder.sizes(config)
    return {**sizes, "three_hidden": 3 * sizes["hidden"], "two_intermediate": 2 * sizes["intermediate"]}


def _absent_biases(config: Mapping[str, Any]) -> set[str]:
    switched = {
        "norm_bias": ("embedding_norm", "attention_norm", "feed_forward_norm", "final_norm", "pooler_norm"),
        "attention_bias": ("query_key_value", "attention_output"),
        "mlp_bias": ("gate_up", "down"),
        "classifier_bias": ("pooler",),
    }
    return {f"{role}_bias" for field, roles in switched.items() if not config.get(field) for role in roles}
