"""The tensors of a model that answers in one pass: their names and shapes in a Hugging Face checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Shape = tuple[int, ...]

LEGACY = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
"""What checkpoints converted from TensorFlow call two tensors; transformers reads both."""


@dataclass(frozen=True)
class Weight:
    """Tensors of one shape.

    `name` holds `{layer}`, to be each of `layers`, where there are several; and `{body}` where a checkpoint
    with a head puts the family's prefix and a plain one nothing. A buffer is in the file, but no parameter.
    """

    name: str
    shape: Shape
    layers: range = range(1)
    is_buffer: bool = False

    @property
    def times(self) -> int:
        """Return how many layers have one; `len` refuses what a damaged config may say."""
        return max(0, self.layers.stop - self.layers.start)


def parameters(weights: Iterable[Weight]) -> int:
    """Return the number of trained numbers in all these tensors."""
    return sum(math.prod(one.shape) * one.times for one in weights if not one.is_buffer)


def shapes(weights: Iterable[Weight], prefix: str, held: Iterable[str]) -> dict[str, Shape]:
    """Return tensor name -> shape, spelled as a checkpoint does that holds the tensors `held`."""
    held = tuple(held)
    body = f"{prefix}." if any(name.startswith(f"{prefix}.") for name in held) else ""
    is_legacy = any(name.endswith(tuple(LEGACY.values())) for name in held)
    found = {}
    for one in weights:
        name = one.name
        for current, old in LEGACY.items() if is_legacy else ():
            name = name.replace(current, old)
        for layer in one.layers:
            found[name.format(body=body, layer=layer)] = one.shape
    return found
