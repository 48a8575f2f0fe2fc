"""GPTQ: 4- or 8-bit weights in groups, packed along the inputs.

`qweight` int32 [inputs x bits / 32, outputs], `qzeros` int32 [groups, outputs x bits / 32], `scales` float16
[groups, outputs], `g_idx` int32 [inputs], the group of each input (GPTQModel 7.7,
nn_modules/qlinear/__init__.py); W = scale x (q - zero), transposed. A checkpoint of format `gptq` stores each
zero less one, of `gptq_v2` as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import engine_layouts, unpacking
from builder.weight_format import Kernel, Stored, field_of, taken
from builder.weights import Shape

MARKS = ("qweight",)
KERNEL = Kernel("auto_gptq", "6.0")
"""AutoGPTQConfig.get_min_capability (vLLM 0.22, quantization/auto_gptq.py)."""
BITS = (4, 8)
PACKED_BITS, MIDDLE = 4, 8
"""What `pack` writes: symmetric, so that every zero point is in the middle."""
GROUPS = (-1, 32, 64, 128)
"""Those of AutoGPTQConfig.TYPE_MAP, and MARLIN_SUPPORTED_GROUP_SIZES."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `bits`, `group_size`, `sym` and `desc_act`."""
    bits = field_of(told, "bits", kind=int)
    group = field_of(told, "group_size", kind=int)
    symmetric = field_of(told, "sym", kind=bool, default=True)
    ordered = field_of(told, "desc_act", kind=bool, default=False)
    kernel: Kernel | str = KERNEL
    if bits not in BITS or not symmetric:
        told_so = "symmetric" if symmetric else "asymmetric"
        kernel = f"vLLM reads 4 or 8 bits, symmetric, not {bits} bits, {told_so}"
    elif group not in GROUPS:
        kernel = f"vLLM's kernels take groups of 32, 64, 128 or a whole row, not of {group}"
    in_a_row = bits == 4 and group == engine_layouts.GROUP and symmetric and not ordered
    shared = f"groups of {group}" if group > 0 else "whole rows"
    return Stored(
        name="gptq",
        scheme=f"GPTQ: {bits}-bit weights in {shared}{', by their activations' * ordered}"
        + ", with zero points" * (not symmetric),
        bits=bits + ((16 + bits) / group if group > 0 else 0),
        group=max(0, group),
        **taken(vllm=kernel, tensorrtllm=engine_layouts.INT4 if in_a_row else engine_layouts.GROUPS),
    )


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    if told.get("checkpoint_format", "gptq") not in ("gptq", "gptq_v2"):
        return {}
    return {"qweight": (inputs * int(told["bits"]) // 32, outputs)}


def described(group: int) -> dict[str, Any]:
    """Return `quantization_config` of a checkpoint that `pack` writes, with groups of that many inputs."""
    return {
        "quant_method": "gptq",
        "bits": PACKED_BITS,
        "group_size": group,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": "gptq",
    }


def pack(stem: str, numbers: Any, scales: Any) -> dict[str, Any]:
    """Return the tensors of a matrix by their names, which begin with `stem`.

    Args:
        stem: such as `model.layers.0.mlp.up_proj.`.
        numbers: -8 to 7, int8 [outputs, inputs].
        scales: float16 [outputs, groups].
    """
    import torch

    inputs, groups = numbers.shape[1], scales.shape[1]
    zeros = torch.full((groups, numbers.shape[0]), MIDDLE - 1, dtype=torch.int32)
    return {
        f"{stem}qweight": unpacking.words(numbers.int() + MIDDLE, PACKED_BITS).T.contiguous(),
        f"{stem}qzeros": unpacking.words(zeros, PACKED_BITS),
        f"{stem}scales": scales.half().T.contiguous(),
        f"{stem}g_idx": torch.arange(inputs, dtype=torch.int32) // (inputs // groups),
    }


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    bits, scales = int(told["bits"]), parts["scales"].float()
    outputs = parts["qweight"].shape[1]
    numbers = unpacking.fields(parts["qweight"].T, bits).T
    zeros = unpacking.fields(parts["qzeros"], bits)[:, :outputs]
    if told.get("checkpoint_format", "gptq") != "gptq_v2":
        zeros = zeros + 1
    of_group = parts["g_idx"].long() if "g_idx" in parts else _in_order(numbers, scales)
    return (scales[of_group] * (numbers - zeros[of_group])).T.contiguous()


def _in_order(numbers: Any, scales: Any) -> Any:
    import torch

    return torch.arange(numbers.shape[0]) // (numbers.shape[0] // scales.shape[0])
