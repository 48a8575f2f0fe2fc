"""GPTQ of one matrix, by NVIDIA's ModelOpt 0.47: columns make up for the errors of those before them.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(https://arxiv.org/abs/2210.17323). ModelOpt's own driver rounds the whole matrix anew for each column; its
update is handed a rounding that is computed for the column alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder.errors import ConversionError

VERSION = "0.47.0"

BITS = 4
LEAST, MOST = -(1 << (BITS - 1)), (1 << (BITS - 1)) - 1
DAMPING = 0.01
"""Share of the mean of the diagonal that is added to it, GPTQ's own."""
COLUMNS = 128
"""Rounded before the error is handed on to all others, ModelOpt's own; no group may span two such blocks."""
SHRUNK = tuple(step / 20 for step in range(12, 21))
"""Shares of the scale that covers a whole group, of which the best is taken: outliers are cut off."""
SMALLEST = 2.0**-14
"""The smallest scale, float16's smallest with all its bits."""


class Inputs:
    """What a matrix reads: the mean of the outer products of its inputs, float32 [inputs, inputs].

    Args:
        width: inputs.
    """

    def __init__(self, width: int) -> None:
        import torch

        self._products = torch.zeros(width, width)
        self._count = 0
        self._first: Any = None
        self._same = True

    def add(self, states: Any) -> None:
        """Add inputs [..., inputs]."""
        from modelopt.torch.quantization.utils.calib_utils import update_hessian

        rows = states.reshape(-1, states.shape[-1]).float().cpu()
        if self._first is None:
            self._first = rows[0].clone()
        self._same = self._same and bool((rows == self._first).all())
        self._products, self._count = update_hessian(rows, self._products, self._count)

    def of(self, name: str) -> Any:
        """Return the products; raise ConversionError for inputs that tell nothing of matrix `name`."""
        import torch

        if not self._count:
            raise refusal(name, "no token reached it")
        if not bool(torch.isfinite(self._products).all()):
            raise refusal(name, "its inputs were infinite, or no numbers")
        if self._same:
            raise refusal(name, f"all its {self._count:,} inputs were the same")
        return self._products


@dataclass(frozen=True)
class Rounded:
    """Whole numbers -8 to 7, int8 [outputs, inputs], and their scales, float16 [outputs, groups]."""

    numbers: Any
    scales: Any

    def weight(self) -> Any:
        """Return what they stand for, float32 [outputs, inputs]."""
        groups = self.numbers.reshape(*self.scales.shape, -1).float()
        return (groups * self.scales.float().unsqueeze(2)).reshape(self.numbers.shape)


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
    scales = covering(wide, torch.diag(products), group)
    inverse = calib_utils.compute_hessian_inverse(products, wide, DAMPING)
    calib_utils.gptq_blockwise_update(wide, inverse, COLUMNS, _Columns(scales.float(), group))
    numbers = (wide.reshape(*scales.shape, group) / scales.float().unsqueeze(2)).round()
    return Rounded(numbers.clamp(LEAST, MOST).to(torch.int8).reshape(wide.shape), scales)


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
    for whole in (largest / LEAST, largest / -LEAST):
        for share in SHRUNK:
            scale = _stored(whole * share).unsqueeze(2)
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


def refusal(name: str, what: str) -> ConversionError:
    """Return what to raise for a matrix of which nothing can be measured."""
    return ConversionError(
        f"calibration of {name.removesuffix('.weight')}: {what}",
        expected="finite inputs that differ from token to token",
        remedy="see that the model answers sensibly unquantised; calibrate with more varied texts; "
        "or round without any, by --quantize int4_g64",
    )
