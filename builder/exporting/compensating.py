"""GPTQ of one matrix, by NVIDIA's ModelOpt 0.47: columns make up for the errors of those before them.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(https://arxiv.org/abs/2210.17323). ModelOpt's own driver rounds the whole matrix anew for each column; its
update is handed a rounding that is computed for the column alone.
"""

from __future__ import annotations

from typing import Any

from builder.exporting import grid
from builder.exporting.grid import LEAST, MOST, Rounded

VERSION = "0.47.0"

DAMPING = 0.01
"""Share of the mean of the diagonal that is added to it, GPTQ's own."""
COLUMNS = 128
"""Rounded before the error is handed on to all others, ModelOpt's own; no group may span two such blocks."""


def rounded(weight: Any, products: Any, group: int) -> Rounded:
    """Round a matrix so that what it makes of its inputs changes least.

    Args:
        weight: [outputs, inputs].
        products: of `Inputs`.
        group: inputs that share a scale; it divides them, and COLUMNS.
    """
    import torch
    from modelopt.torch.quantization.utils import calib_utils

    wide = weight.float().clone()
    scales = grid.covering(wide, torch.diag(products), group)
    inverse = calib_utils.compute_hessian_inverse(products, wide, DAMPING)
    calib_utils.gptq_blockwise_update(wide, inverse, COLUMNS, _Columns(scales.float(), group))
    return grid.nearest(wide, scales)


class _Columns:
    """A matrix rounded, computed for the columns that are asked for."""

    def __init__(self, scales: Any, group: int) -> None:
        self._scales, self._group = scales, group
        self._weight: Any = None

    def __call__(self, weight: Any) -> _Columns:
        self._weight = weight
        return self

    def __getitem__(self, place: tuple[slice, int]) -> Any:
        rows, column = place
        scale = self._scales[rows, column // self._group]
        return (self._weight[place] / scale).round().clamp(LEAST, MOST) * scale
