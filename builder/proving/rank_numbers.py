"""What a TensorRT-LLM checkpoint's quantised weights stand for, and what rounding leaves of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

BITS = {"W8A16": 8, "W4A16": 4}
"""`quant_algo` -> bits of weights that lie in the ranks plain, and that trtllm-build rounds."""

FLOAT8, FLOAT8_LARGEST = ("FP8", "W4A8_AWQ"), 448.0
"""Which `quant_algo` round inputs to float8_e4m3; those of `W8A8_SQ_PER_CHANNEL` become int8."""

_FLAT = 2
"""Dimensions of a matrix that is none of several experts'."""


def rounded_by_the_build(weight: Any, bits: int) -> Any:
    """Return what is left of a rank's matrix [.., outputs, inputs] once each output has a scale of its own.

    As symmetric_quantize does it (TensorRT-LLM 1.2, cutlass_preprocessors.cpp): the largest weight of an
    output becomes -2^(bits - 1), or 2^(bits - 1) - 1; halves are rounded away from zero; scales are of the
    weights' own type.
    """
    import torch

    wide, half = weight.float(), 1 << (bits - 1)
    scale = wide.abs().amax(dim=-1, keepdim=True) / half
    steps = wide / torch.where(scale == 0, torch.ones_like(scale), scale)
    found = (steps.abs() + 0.5).floor().copysign(steps).clamp(-half, half - 1)
    return found * scale.to(weight.dtype).float()


def numbers(stored: Any, scale: Any, smoothing: Any) -> Any:
    """Return what a quantised matrix [.., outputs, inputs] stands for, in float32.

    Args:
        stored: float8 or int8; 4-bit ones lie in pairs of outputs, the even one in the low bits.
        scale: float32 [.., 1] for the matrix, [outputs], or [outputs, groups].
        smoothing: [inputs], what the inputs are multiplied with before, None for nothing.
    """
    import torch

    found = stored
    if scale.dim() == stored.dim() == _FLAT and scale.shape[0] == 2 * stored.shape[0]:
        # arithmetic shifts keep the sign
        found = torch.stack([(stored << 4) >> 4, stored >> 4], dim=1).flatten(0, 1)
    found = found.float()
    if scale.dim() == found.dim() == _FLAT:
        groups = found.reshape(found.shape[0], scale.shape[1], -1)
        found = (groups * scale.unsqueeze(2)).reshape(found.shape)
    else:
        found = found * scale.unsqueeze(-1)
    return found if smoothing is None else found * smoothing.float()


@dataclass(frozen=True)
class Inputs:
    """How the inputs of a matrix are rounded: float32 `scale` [1], and what they are multiplied with before.

    `smoothing` [inputs] is None for nothing. The weights have it in them already, as `numbers` returns them.
    """

    scale: Any
    smoothing: Any = None

    def rounded(self, values: Any, float8: bool) -> Any:
        """Return values [.., inputs] as they are multiplied, brought back to where they were."""
        import torch

        step = self.scale if self.smoothing is None else self.scale / self.smoothing
        steps = values / step
        if float8:
            steps = steps.clamp(-FLOAT8_LARGEST, FLOAT8_LARGEST).to(torch.float8_e4m3fn).float()
        else:
            steps = steps.round().clamp(-128, 127)
        return steps * step


def round_inputs(model: Any, inputs: Mapping[str, Inputs], float8: bool) -> None:
    """Let the named modules of a model see their inputs rounded."""

    def hook(own: Inputs) -> Callable[[Any, Any], Any]:
        return lambda module, values: (own.rounded(values[0], float8), *values[1:])

    for name, own in inputs.items():
        model.get_submodule(name).register_forward_pre_hook(hook(own))
