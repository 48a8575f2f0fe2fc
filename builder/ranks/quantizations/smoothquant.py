"""INT8 SmoothQuant: weights in int8, a scale for each output; inputs in int8, smoothed, one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.ranks import quantization, rounding
from builder.ranks.quantization import Matrix, Rounded

ALGORITHM: str = "W8A8_SQ_PER_CHANNEL"
PRESET: str = "INT8_SMOOTHQUANT_CFG"
CALIBRATION: Mapping[str, Any] = {"alpha": 0.85}
NUMBER: str = "I8"
PER_BYTE: int = 1
GROUP_SIZE: int = 0
SCALES: Mapping[str, str] = {
    "weights_scaling_factor": quantization.OUTPUT,
    "activation_scaling_factor": quantization.LAYER,
    quantization.PREQUANT: quantization.INPUT,
}
TOGETHER: tuple[frozenset[str], ...] = ()
EXPERTS: bool = False
SETTINGS: Mapping[str, Any] = {}


def rounded(matrices: Sequence[Matrix], companions: Sequence[Matrix]) -> Rounded:
    """Divide each output by its scale, and round."""
    import torch

    alike = rounding.smoothed_alike(matrices)
    weights = rounding.stacked(alike)
    scales = rounding.scale(weights, 1, rounding.INT8_LARGEST)
    return Rounded(
        numbers=(weights / scales[:, None]).round().clamp(-128, 127).to(torch.int8),
        scales={
            "weights_scaling_factor": scales,
            "activation_scaling_factor": rounding.input_scale(matrices, rounding.INT8_LARGEST),
            quantization.PREQUANT: alike[0].smoothing,
        },
    )
