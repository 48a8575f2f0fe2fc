"""W4A16_AWQ: weights in 4 bits, smoothed, with a scale for each group of 128 inputs; inputs in 16 bits.

AWQ: https://arxiv.org/abs/2306.00978.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.ranks import quantization, rounding
from builder.ranks.quantization import Matrix, Rounded

ALGORITHM: str = "W4A16_AWQ"
PRESET: str = "INT4_AWQ_CFG"
CALIBRATION: Mapping[str, Any] = {}
NUMBER: str = "I8"
PER_BYTE: int = 2
GROUP_SIZE: int = 128
SCALES: Mapping[str, str] = {
    "weights_scaling_factor": quantization.GROUP,
    quantization.PREQUANT: quantization.INPUT,
}
TOGETHER: tuple[frozenset[str], ...] = ()
EXPERTS: bool = False
SETTINGS: Mapping[str, Any] = {"group_size": GROUP_SIZE, "has_zero_point": False, "pre_quant_scale": True}


def rounded(matrices: Sequence[Matrix], companions: Sequence[Matrix]) -> Rounded:
    """Divide each group by its scale, and round."""
    alike = rounding.smoothed_alike(matrices)
    numbers, scales = rounding.four_bits(alike, GROUP_SIZE)
    return Rounded(numbers, {"weights_scaling_factor": scales, quantization.PREQUANT: alike[0].smoothing})
