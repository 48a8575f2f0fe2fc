"""What the vision families in `architectures/` have in common: image sizes, stages, the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder import encoder
from builder.architecture import VisionDimensions, count
from builder.errors import SourceError
from builder.weights import Weight, parameters

PIPELINES: tuple[str, ...] = ("image_classification",)
EXPORTER: str = "image_encoder"
USUAL_SIDE = 224
"""Pixels of an image where the config does not say: what ImageNet's models are trained on."""


def image_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width in pixels."""
    return pair(config, "image_size", USUAL_SIDE)


def channels(config: Mapping[str, Any]) -> int:
    """Return the colours of a pixel."""
    return count(config, "num_channels", 3)


def pair(config: Mapping[str, Any], name: str, default: int) -> tuple[int, int]:
    """Return height and width of a field that may hold one number for both."""
    value = config.get(name, default)
    sides = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(sides) != 2:
        raise _impossible(name, value, "one number, or height and width")
    return count({name: sides[0]}, name), count({name: sides[1]}, name)


def stages(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return (channels, blocks) of every stage; raise SourceError where the two lists do not match."""
    sizes, depths = (_counts(config, name) for name in ("hidden_sizes", "depths"))
    if len(sizes) != len(depths):
        raise _impossible("depths", depths, f"one for each of the {len(sizes)} hidden_sizes")
    return list(zip(sizes, depths, strict=True))


def head(config: Mapping[str, Any], hidden_size: int, name: str = "classifier") -> tuple[Weight, ...]:
    """Return the classifier's weights, which a checkpoint must have whatever class saved it."""
    labels = encoder.number_of_labels(config)
    return Weight(f"{name}.weight", (labels, hidden_size)), Weight(f"{name}.bias", (labels,))


def with_bias(name: str, shape: tuple[int, ...], layers: range = range(1)) -> tuple[Weight, Weight]:
    """Return weight and bias of a module; a norm's are of one shape."""
    return Weight(f"{name}.weight", shape, layers), Weight(f"{name}.bias", shape[:1], layers)


def read_dimensions(
    config: Mapping[str, Any], weights: tuple[Weight, ...], hidden_size: int, layers: int, widest: int
) -> VisionDimensions:
    """Return the dimensions; `widest` counts the numbers alive at the widest point, the image included."""
    return VisionDimensions(
        image_size=image_size(config),
        channels=channels(config),
        hidden_size=hidden_size,
        layers=layers,
        parameters=parameters(weights),
        widest=widest,
    )


def _counts(config: Mapping[str, Any], name: str) -> list[int]:
    values = config.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise _impossible(name, values, "a list with a number for each stage")
    return [count({name: value}, name) for value in values]


def _impossible(name: str, value: object, expected: str) -> SourceError:
    return SourceError(
        f"config.json: {name} is {value!r}",
        expected=expected,
        remedy="take config.json from the model's own repository again",
    )
