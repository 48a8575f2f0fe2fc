"""ViT: an image as a text of patches (https://arxiv.org/abs/2010.11929)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import vision
from builder.architecture import EncoderDimensions, VisionDimensions, count, require_fields
from builder.weights import Weight, parameters

HUGGING_FACE_CLASS: str = "ViTForImageClassification"
PIPELINES: tuple[str, ...] = vision.PIPELINES
EXPORTER: str = vision.EXPORTER
IMAGE_PROCESSOR: str = "ViTImageProcessor"
PREFIX: str = "vit"

REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size",
            "patch_size")  # fmt: skip
_LAYER = "{body}encoder.layer.{layer}"


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight; the pooler never counts, the classifier reads the first token itself."""
    require_fields(config, REQUIRED)
    hidden, intermediate = count(config, "hidden_size"), count(config, "intermediate_size")
    layers = range(count(config, "num_hidden_layers"))
    patch = vision.pair(config, "patch_size", 16)
    attention = [
        vision.with_bias(f"{_LAYER}.attention.attention.{name}", (hidden, hidden), layers)
        for name in ("query", "key", "value")
    ]
    biases = 2 if config.get("qkv_bias", True) else 1
    return (
        Weight("{body}embeddings.cls_token", (1, 1, hidden)),
        Weight("{body}embeddings.position_embeddings", (1, _tokens(config), hidden)),
        *vision.with_bias("{body}embeddings.patch_embeddings.projection",
                          (hidden, vision.channels(config), *patch)),
        *(one for projection in attention for one in projection[:biases]),
        *vision.with_bias(f"{_LAYER}.attention.output.dense", (hidden, hidden), layers),
        *vision.with_bias(f"{_LAYER}.layernorm_before", (hidden,), layers),
        *vision.with_bias(f"{_LAYER}.layernorm_after", (hidden,), layers),
        *vision.with_bias(f"{_LAYER}.intermediate.dense", (intermediate, hidden), layers),
        *vision.with_bias(f"{_LAYER}.output.dense", (hidden, intermediate), layers),
        *vision.with_bias("{body}layernorm", (hidden,)),
        *vision.head(config, hidden),
    )  # fmt: skip


def dimensions(config: Mapping[str, Any]) -> VisionDimensions:
    """Read the dimensions; the widest point is that of a text of as many tokens as the image has patches."""
    found = weights(config)
    tokens = _tokens(config)
    hidden, layers = count(config, "hidden_size"), count(config, "num_hidden_layers")
    text = EncoderDimensions(
        vocabulary_size=1,
        hidden_size=hidden,
        intermediate_size=count(config, "intermediate_size"),
        layers=layers,
        heads=count(config, "num_attention_heads"),
        context_length=tokens,
        parameters=parameters(found),
    )
    return vision.read_dimensions(config, found, hidden, layers, text.activation_elements(tokens))


def _tokens(config: Mapping[str, Any]) -> int:
    """Return the number of patches, and one token more that stands for the image."""
    height, width = vision.image_size(config)
    patch_height, patch_width = vision.pair(config, "patch_size", 16)
    return (height // patch_height) * (width // patch_width) + 1
