"""AWQ: 4-bit weights in groups with zero points, packed as AutoAWQ's GEMM kernel reads them.

`qweight` int32 [inputs, outputs / 8], `qzeros` int32 [inputs / group, outputs / 8], `scales` float16
[inputs / group, outputs] (AutoAWQ 0.2.9, awq/modules/linear/gemm.py); W = (q - zero) x scale, transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import engine_layouts, unpacking
from builder.weight_format import Kernel, Stored, field_of, taken
from builder.weights import Shape

MARKS = ("qweight",)
KERNEL = Kernel("awq", "7.5")
"""AWQMarlinConfig and AWQConfig.get_min_capability (vLLM 0.22, quantization/awq_marlin.py and awq.py)."""
GROUPS = (-1, 32, 64, 128)
"""MARLIN_SUPPORTED_GROUP_SIZES (vLLM 0.22, quantization/utils/marlin_utils.py); -1 is a whole row."""
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where among a word's eight numbers, the lowest bits first, each of eight columns lies."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `bits`, `group_size`, `zero_point` and `version`, by AutoAWQ's names, older ones too."""
    bits = field_of(told, "bits", "w_bit", kind=int)
    group = field_of(told, "group_size", "q_group_size", kind=int)
    version = field_of(told, "version", kind=str, default="gemm").lower()
    shifted = field_of(told, "zero_point", kind=bool)
    kernel: Kernel | str = KERNEL
    if bits != 4 or version != "gemm":
        kernel = f"vLLM reads 4 bits in the layout gemm, not {bits} bits in {version}"
    elif group not in GROUPS:
        kernel = f"vLLM's kernels take groups of 32, 64, 128 or a whole row, not of {group}"
    elif not shifted:
        kernel = "vLLM's kernels read AWQ with zero points, not without"
    shared = f"groups of {group}" if group > 0 else "whole rows"
    return Stored(
        name="awq",
        scheme=f"AWQ: {bits}-bit weights in {shared} {'with' if shifted else 'without'} zero points",
        # a float16 scale and a zero point for each group
        bits=bits + ((16 + bits) / group if group > 0 else 0),
        group=max(0, group),
        **taken(vllm=kernel, tensorrtllm=engine_layouts.GROUPS),
    )


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    return {"qweight": (inputs, outputs // 8)}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    scales = parts["scales"].float()
    group = parts["qweight"].shape[0] // scales.shape[0]
    numbers = _columns(parts["qweight"])
    zeros = _columns(parts["qzeros"]).repeat_interleave(group, dim=0)
    return ((numbers - zeros) * scales.repeat_interleave(group, dim=0)).T.contiguous()


def _columns(packed: Any) -> Any:
    rows, words = packed.shape
    return unpacking.fields(packed, 4).reshape(rows, words, 8)[:, :, list(ORDER)].reshape(rows, words * 8)
