"""DistilBERT: BERT with half its layers, without token types and without a pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "DistilBertModel"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "distilbert"

FIELDS: Mapping[str, str] = {
    "vocabulary": "vocab_size",
    "hidden": "dim",
    "intermediate": "hidden_dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "positions": "max_position_embeddings",
}
HUGGING_FACE: Mapping[str, str] = encoder.named(
    {
        "words": "{body}embeddings.word_embeddings",
        "positions": "{body}embeddings.position_embeddings",
        "embedding_norm": "{body}embeddings.LayerNorm",
        "query": "{body}transformer.layer.{layer}.attention.q_lin",
        "key": "{body}transformer.layer.{layer}.attention.k_lin",
        "value": "{body}transformer.layer.{layer}.attention.v_lin",
        "attention_output": "{body}transformer.layer.{layer}.attention.out_lin",
        "attention_norm": "{body}transformer.layer.{layer}.sa_layer_norm",
        "up": "{body}transformer.layer.{layer}.ffn.lin1",
        "down": "{body}transformer.layer.{layer}.ffn.lin2",
        "feed_forward_norm": "{body}transformer.layer.{layer}.output_layer_norm",
    }
)
HEADS: Mapping[str, Mapping[str, str]] = {
    "ForSequenceClassification": encoder.named({"pooler": "pre_classifier", "classifier": "classifier"}),
    "ForTokenClassification": encoder.named({"classifier": "classifier"}),
}


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight, with those of the head that the config's class has."""
    return encoder.weights({**HUGGING_FACE, **encoder.head(config, HEADS)}, encoder.sizes(config, FIELDS))


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions from the family's own field names."""
    return encoder.read_dimensions(encoder.sizes(config, FIELDS), weights(config))
