"""ConvNeXt: convolutions per channel, then a feed-forward network (https://arxiv.org/abs/2201.03545)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import vision
from builder.architecture import VisionDimensions
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "ConvNextForImageClassification"
PIPELINES: tuple[str, ...] = vision.PIPELINES
EXPORTER: str = vision.EXPORTER
IMAGE_PROCESSOR: str = "ConvNextImageProcessor"
PREFIX: str = "convnext"

EXPANSION = 4
"""How many times more values the feed-forward network holds inside."""


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight, the last norm's included, which the classifier reads."""
    stages = vision.stages(config)
    before = stages[0][0]
    patch = vision.pair(config, "patch_size", 4)
    found = [
        *vision.with_bias("{body}embeddings.patch_embeddings", (before, vision.channels(config), *patch)),
        *vision.with_bias("{body}embeddings.layernorm", (before,)),
    ]
    for number, (size, depth) in enumerate(stages):
        stage = f"{{body}}encoder.stages.{number}"
        if number:
            found += vision.with_bias(f"{stage}.downsampling_layer.0", (before,))
            found += vision.with_bias(f"{stage}.downsampling_layer.1", (size, before, 2, 2))
        found += _blocks(config, f"{stage}.layers.{{layer}}", size, range(depth))
        before = size
    return (*found, *vision.with_bias("{body}layernorm", (before,)), *vision.head(config, before))


def dimensions(config: Mapping[str, Any]) -> VisionDimensions:
    """Read the dimensions.

    A block holds its input and its feed-forward values before and after the activation, 9 numbers for each
    channel and place; the stem holds the image and its patches.
    """
    stages = vision.stages(config)
    (height, width), patch = vision.image_size(config), vision.pair(config, "patch_size", 4)
    image = vision.channels(config) * height * width
    height, width = height // patch[0], width // patch[1]
    widest = image + stages[0][0] * height * width
    for number, (size, _) in enumerate(stages):
        if number:
            height, width = height // 2, width // 2
        widest = max(widest, (1 + 2 * EXPANSION) * size * height * width)
    layers = sum(depth for _, depth in stages)
    return vision.read_dimensions(config, weights(config), stages[-1][0], layers, widest)


def _blocks(config: Mapping[str, Any], name: str, size: int, layers: range) -> tuple[Weight, ...]:
    scale = (Weight(f"{name}.layer_scale_parameter", (size,), layers),)
    initial = config.get("layer_scale_init_value", 1e-6)
    return (
        *vision.with_bias(f"{name}.dwconv", (size, 1, 7, 7), layers),
        *vision.with_bias(f"{name}.layernorm", (size,), layers),
        *vision.with_bias(f"{name}.pwconv1", (EXPANSION * size, size), layers),
        *vision.with_bias(f"{name}.pwconv2", (size, EXPANSION * size), layers),
        *(scale if isinstance(initial, int | float) and initial > 0 else ()),
    )
