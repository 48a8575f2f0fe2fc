"""BERT, and what shares its graph: MiniLM, BGE, E5, GTE, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import encoder
from builder.architecture import EncoderDimensions, count
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "BertModel"
PIPELINES: tuple[str, ...] = encoder.PIPELINES
EXPORTER: str = encoder.EXPORTER
PREFIX: str = "bert"

HUGGING_FACE: Mapping[str, str] = encoder.named(encoder.BERT)
HEADS: Mapping[str, Mapping[str, str]] = {
    "ForSequenceClassification": encoder.named({"pooler": "{body}pooler.dense", "classifier": "classifier"}),
    "ForTokenClassification": encoder.named({"classifier": "classifier"}),
}


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight; the pooler counts only where the head reads the text through it."""
    return encoder.weights({**HUGGING_FACE, **encoder.head(config, HEADS)}, _sizes(config))


def dimensions(config: Mapping[str, Any]) -> EncoderDimensions:
    """Read the dimensions; every position embedding takes one token."""
    return encoder.read_dimensions(_sizes(config), weights(config))


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    return encoder.sizes(config, types=count(config, "type_vocab_size", 2))
