"""RoBERTa, and what shares its graph: all-distilroberta, CodeBERT, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions, count
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "RobertaModel"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "roberta"

HUGGING_FACE: Mapping[str, str] = encoder.named(encoder.BERT)

PADDING = 1
"""What transformers takes for `pad_token_id` when the field is absent."""


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight; no head reads the pooler, so it never counts."""
    return encoder.weights(
        {**HUGGING_FACE, **encoder.head(config, encoder.DENSE_HEADS)},
        encoder.sizes(config, types=count(config, "type_vocab_size", 2)),
    )


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions; the first token of a text has the position after the padding token's number."""
    padding = count(config, "pad_token_id", PADDING, least=0)
    return encoder.read_dimensions(
        encoder.sizes(config), weights(config), encoder.positions_after_padding(config, padding)
    )
