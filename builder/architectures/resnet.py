"""ResNet: stages of convolutions with a shortcut beside each block (https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from builder import vision
from builder.architecture import VisionDimensions, count
from builder.errors import SourceError
from builder.weights import Weight

HUGGING_FACE_CLASS: str = "ResNetForImageClassification"
PIPELINES: tuple[str, ...] = vision.PIPELINES
EXPORTER: str = vision.EXPORTER
IMAGE_PROCESSOR: str = "ConvNextImageProcessor"
PREFIX: str = "resnet"

REDUCTION = 4
"""How many times fewer channels the inner convolutions of a bottleneck have."""


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return every weight, and the running means and variances, which are buffers."""
    stem = count(config, "embedding_size", 64)
    found = list(_convolution("{body}embedder.embedder", stem, vision.channels(config), 7))
    before = stem
    for stage, (size, depth) in enumerate(vision.stages(config)):
        name = f"{{body}}encoder.stages.{stage}.layers"
        if before != size or _halves(config, stage):
            found += _convolution(f"{name}.0.shortcut", size, before, 1)
        found += _block(config, f"{name}.0", before, size, range(1))
        found += _block(config, f"{name}.{{layer}}", size, size, range(1, depth))
        before = size
    return (*found, *vision.head(config, before, "classifier.1"))


def dimensions(config: Mapping[str, Any]) -> VisionDimensions:
    """Read the dimensions.

    A convolution holds its input and its output, and beside them what its block began with. Widest is the
    stem, or the first block of a stage: the block's input, and two inner tensors of the input's extent.
    """
    found, stages = weights(config), vision.stages(config)
    height, width = vision.image_size(config)
    image, before = vision.channels(config) * height * width, count(config, "embedding_size", 64)
    widest = image + before * _half(height) * _half(width)
    height, width = _half(_half(height)), _half(_half(width))
    for stage, (size, _) in enumerate(stages):
        inner = size // REDUCTION if _is_bottleneck(config) else size
        widest = max(widest, (before + 2 * inner) * height * width)
        if _halves(config, stage):
            height, width = _half(height), _half(width)
        widest = max(widest, (2 * size + inner) * height * width)
        before = size
    return vision.read_dimensions(config, found, before, sum(depth for _, depth in stages), widest)


def _block(config: Mapping[str, Any], name: str, before: int, size: int, layers: range) -> Iterator[Weight]:
    inner = size // REDUCTION
    convolutions = (
        ((inner, before, 1), (inner, inner, 3), (size, inner, 1))
        if _is_bottleneck(config)
        else ((size, before, 3), (size, size, 3))
    )
    for number, (outputs, inputs, kernel) in enumerate(convolutions):
        yield from _convolution(f"{name}.layer.{number}", outputs, inputs, kernel, layers)


def _convolution(
    name: str, outputs: int, inputs: int, kernel: int, layers: range = range(1)
) -> Iterator[Weight]:
    yield Weight(f"{name}.convolution.weight", (outputs, inputs, kernel, kernel), layers)
    yield from vision.with_bias(f"{name}.normalization", (outputs,), layers)
    for statistic in ("running_mean", "running_var"):
        yield Weight(f"{name}.normalization.{statistic}", (outputs,), layers, is_buffer=True)


def _is_bottleneck(config: Mapping[str, Any]) -> bool:
    kind = config.get("layer_type", "bottleneck")
    if kind not in ("basic", "bottleneck"):
        raise SourceError(
            f"config.json: layer_type is {kind!r}",
            expected="basic or bottleneck",
            remedy="take config.json from the model's own repository again",
        )
    return bool(kind == "bottleneck")


def _halves(config: Mapping[str, Any], stage: int) -> bool:
    return stage > 0 or bool(config.get("downsample_in_first_stage", False))


def _half(side: int) -> int:
    return (side + 1) // 2
