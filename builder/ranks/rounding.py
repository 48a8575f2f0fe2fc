"""The arithmetic that ways to quantise share, in torch; step by step ModelOpt's, or bits differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builder.ranks.quantization import Matrix

FLOAT8_LARGEST, INT8_LARGEST, INT4_LARGEST = 448.0, 127.0, 7.0


def stacked(matrices: Sequence[Matrix]) -> Any:
    """Return matrices of the same smoothing one below the other."""
    import torch

    return torch.cat([matrix.weight for matrix in matrices])


def smoothed_alike(matrices: Sequence[Matrix]) -> list[Matrix]:
    """Give matrices that read the same inputs the mean of their smoothings.

    Each was smoothed as suits it best; the inputs can be multiplied with one of them only
    (ModelOpt's preprocess_linear_fusion).
    """
    import torch

    mean = torch.mean(torch.stack([matrix.smoothing for matrix in matrices]), dim=0)
    return [_smoothed(matrix, mean) for matrix in matrices]


def _smoothed(matrix: Matrix, smoothing: Any) -> Matrix:
    import torch

    if torch.equal(matrix.smoothing, smoothing):
        return matrix
    wide = matrix.weight.float() * matrix.smoothing.float() / smoothing.float()
    return Matrix(wide.to(matrix.weight.dtype), smoothing, matrix.input)


def input_scale(matrices: Sequence[Matrix], largest: float) -> Any:
    """Return the float32 [1] that makes the largest input `largest`."""
    import torch

    return torch.stack([matrix.input.float() for matrix in matrices]).max().reshape(1) / largest


def scale(weights: Any, dimension: int, largest: float) -> Any:
    """Return the float32 that make the largest of a dimension `largest`; 1 where all of it are zeros."""
    import torch

    found = weights.abs().amax(dim=dimension).float() / largest
    return torch.where(found == 0, torch.ones_like(found), found)


def by_groups(weights: Any, size: int) -> Any:
    """Return [outputs, inputs] as [outputs, groups, inputs of a group]."""
    return weights.reshape(weights.shape[0], -1, size)


def four_bits(matrices: Sequence[Matrix], size: int) -> tuple[Any, Any]:
    """Return whole numbers of -8 to 7 as int8 [outputs, inputs], and their scales [outputs, groups]."""
    import torch

    weights = stacked(matrices)
    groups = by_groups(weights, size)
    if any(matrix.scale is None for matrix in matrices):
        scales = scale(groups, 2, INT4_LARGEST)
    else:
        scales = torch.cat([matrix.scale.float() for matrix in matrices])
    numbers = (groups / scales.unsqueeze(2)).round().clamp(-8, 7).to(torch.int8)
    return numbers.reshape(weights.shape), scales


def pairs(numbers: Any) -> Any:
    """Return int8 [outputs, inputs] of -8 to 7 as int8 [outputs / 2, inputs], even ones in low bits."""
    import torch

    low, high = numbers[0::2].view(torch.uint8) & 15, numbers[1::2].view(torch.uint8) & 15
    return (low | (high << 4)).view(torch.int8)
