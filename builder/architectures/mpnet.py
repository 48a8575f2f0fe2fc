"""MPNet: all-mpnet-base-v2 and its line; every layer adds one table of relative positions to its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions, count
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "MPNetModel"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "mpnet"

WITHOUT_BIAS = encoder.WITHOUT_BIAS | {"relative_positions"}
SHAPES: Mapping[str, tuple[str, ...]] = {**encoder.SHAPES, "relative_positions": ("buckets", "heads")}
HUGGING_FACE: Mapping[str, str] = encoder.named(
    {
        "words": "{body}embeddings.word_embeddings",
        "positions": "{body}embeddings.position_embeddings",
        "embedding_norm": "{body}embeddings.LayerNorm",
        "relative_positions": "{body}encoder.relative_attention_bias",
        "query": "{body}encoder.layer.{layer}.attention.attn.q",
        "key": "{body}encoder.layer.{layer}.attention.attn.k",
        "value": "{body}encoder.layer.{layer}.attention.attn.v",
        "attention_output": "{body}encoder.layer.{layer}.attention.attn.o",
        "attention_norm": "{body}encoder.layer.{layer}.attention.LayerNorm",
        "up": "{body}encoder.layer.{layer}.intermediate.dense",
        "down": "{body}encoder.layer.{layer}.output.dense",
        "feed_forward_norm": "{body}encoder.layer.{layer}.output.LayerNorm",
    },
    WITHOUT_BIAS,
)

PADDING = 1
"""Fixed in the family's code, whatever `pad_token_id` says."""


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight; no head reads the pooler, so it never counts."""
    sizes = encoder.sizes(config, buckets=count(config, "relative_attention_num_buckets", 32))
    return encoder.weights({**HUGGING_FACE, **encoder.head(config, encoder.DENSE_HEADS)}, sizes, SHAPES)


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions; the first token of a text has position 2."""
    return encoder.read_dimensions(
        encoder.sizes(config), weights(config), encoder.positions_after_padding(config, PADDING)
    )
