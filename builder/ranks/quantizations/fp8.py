"""FP8: weights and inputs in float8_e4m3, one scale for each tensor and one for its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.ranks import quantization, rounding
from builder.ranks.quantization import Matrix, Rounded

ALGORITHM: str = "FP8"
PRESET: str = "FP8_DEFAULT_CFG"
CALIBRATION: Mapping[str, Any] = {}
NUMBER: str = "F8_E4M3"
PER_BYTE: int = 1
GROUP_SIZE: int = 0
SCALES: Mapping[str, str] = {
    "weights_scaling_factor": quantization.EACH,
    "activation_scaling_factor": quantization.LAYER,
}
# --use_fused_mlp of trtllm-build makes one product of both
TOGETHER: tuple[frozenset[str], ...] = (frozenset({"mlp.fc", "mlp.gate"}),)
EXPERTS: bool = True
SETTINGS: Mapping[str, Any] = {}


def rounded(matrices: Sequence[Matrix], companions: Sequence[Matrix]) -> Rounded:
    """Divide by the scale of the largest weight of all, and round to float8."""
    import torch

    everyone = [*matrices, *companions]
    scale = torch.stack([_scale(matrix) for matrix in everyone]).max().reshape(1)
    return Rounded(
        numbers=(rounding.stacked(matrices) / scale).to(torch.float8_e4m3fn),
        scales={
            "weights_scaling_factor": scale,
            "activation_scaling_factor": rounding.input_scale(everyone, rounding.FLOAT8_LARGEST),
        },
    )


def _scale(matrix: Matrix) -> Any:
    """Return a matrix's scale: its own where it is quantised already."""
    if matrix.scale is not None:
        return matrix.scale.float().reshape(())
    return rounding.scale(matrix.weight.reshape(1, -1), 1, rounding.FLOAT8_LARGEST).reshape(())
