"""W4A8_AWQ: the weights of `awq`, multiplied in float8_e4m3 with inputs that are rounded so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.ranks import quantization, rounding
from builder.ranks.quantization import Matrix, Rounded
from builder.ranks.quantizations import awq

ALGORITHM: str = "W4A8_AWQ"
PRESET: str = "W4A8_AWQ_BETA_CFG"
CALIBRATION: Mapping[str, Any] = {}
NUMBER: str = "I8"
PER_BYTE: int = 2
GROUP_SIZE: int = awq.GROUP_SIZE
SCALES: Mapping[str, str] = {
    **awq.SCALES,
    "weights_scaling_factor_2": quantization.EACH,
    "activation_scaling_factor": quantization.LAYER,
}
TOGETHER: tuple[frozenset[str], ...] = ()
EXPERTS: bool = False
SETTINGS: Mapping[str, Any] = awq.SETTINGS


def rounded(matrices: Sequence[Matrix], companions: Sequence[Matrix]) -> Rounded:
    """Round as `awq`; the second scale takes what 4 bits stand for into the range of float8."""
    alike = rounding.smoothed_alike(matrices)
    weights = rounding.stacked(alike)
    numbers, scales = rounding.four_bits(alike, GROUP_SIZE)
    return Rounded(
        numbers,
        {
            "weights_scaling_factor": scales,
            "weights_scaling_factor_2": rounding.scale(weights.reshape(1, -1), 1, rounding.FLOAT8_LARGEST),
            "activation_scaling_factor": rounding.input_scale(matrices, rounding.FLOAT8_LARGEST),
            quantization.PREQUANT: alike[0].smoothing,
        },
    )
