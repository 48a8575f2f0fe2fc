"""Four bits: whole numbers of -8 to 7, and the scales that groups of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BITS = 4
LEAST, MOST = -(1 << (BITS - 1)), (1 << (BITS - 1)) - 1
SHRUNK = tuple(step / 20 for step in range(12, 21))
"""Shares of the scale that covers a whole group, of which the best is taken: outliers are cut off."""
SMALLEST = 2.0**-14
"""The smallest scale, float16's smallest with all its bits."""


@dataclass(frozen=True)
class Rounded:
    """Whole numbers -8 to 7, int8 [outputs, inputs], and their scales, float16 [outputs, groups]."""

    numbers: Any
    scales: Any

    def weight(self) -> Any:
        """Return what they stand for, float32 [outputs, inputs]."""
        groups = self.numbers.reshape(*self.scales.shape, -1).float()
        return (groups * self.scales.float().unsqueeze(2)).reshape(self.numbers.shape)


def nearest(weight: Any, scales: Any) -> Rounded:
    """Round each number of a matrix by itself.

    Args:
        weight: float32 [outputs, inputs].
        scales: float16 [outputs, groups].
    """
    import torch

    numbers = (weight.reshape(*scales.shape, -1) / scales.float().unsqueeze(2)).round()
    return Rounded(numbers.clamp(LEAST, MOST).to(torch.int8).reshape(weight.shape), scales)


def covering(weight: Any, importance: Any, group: int) -> Any:
    """Return the scales, float16 [outputs, groups], by which rounding to the nearest loses least.

    Args:
        weight: float32 [outputs, inputs].
        importance: of the square of each input's error, [inputs].
        group: inputs that share a scale.
    """
    import torch

    groups = weight.reshape(weight.shape[0], -1, group)
    weights = importance.reshape(1, -1, group)
    largest = groups.gather(2, groups.abs().argmax(dim=2, keepdim=True)).squeeze(2)
    best, least = torch.ones_like(largest), torch.full_like(largest, torch.inf)
    # the range is larger below zero: the sign says to which end the group's largest goes
    for reach in (largest / LEAST, largest / -LEAST):
        for share in SHRUNK:
            scale = _stored(reach * share).unsqueeze(2)
            lost = (groups / scale).round().clamp(LEAST, MOST) * scale - groups
            error = (lost.square() * weights).sum(dim=2)
            better = error < least
            best, least = torch.where(better, scale.squeeze(2), best), torch.where(better, error, least)
    return best.half()


def _stored(scale: Any) -> Any:
    """Return scales as float16 has them, none of them too small; 1 for groups of zeros."""
    import torch

    held = scale.half().float()
    small = torch.where(held < 0, -SMALLEST, SMALLEST)
    return torch.where(scale == 0, 1.0, torch.where(held.abs() < SMALLEST, small, held))
