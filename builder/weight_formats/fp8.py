"""FP8: float8_e4m3 weights with scales for tensors or blocks, as DeepSeek, Qwen and transformers write them.

`weight` [outputs, inputs], and `weight_scale_inv` float32 [outputs / block, inputs / block] or, for a whole
tensor, `weight_scale`; both are multiplied with, whatever their names say (transformers 5.23,
integrations/finegrained_fp8.py; vLLM 0.22, quantization/fp8.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder import engine_layouts, unpacking
from builder.errors import SourceError
from builder.weight_format import Kernel, Stored, choice_of, taken
from builder.weights import Shape

MARKS = ("weight_scale_inv", "weight_scale")
KERNEL = Kernel("fp8", "7.5")
"""Fp8Config.get_min_capability: below 8.9 it computes with 16-bit activations."""


def read(told: Mapping[str, Any]) -> Stored:
    """Read `weight_block_size` and `activation_scheme`."""
    block = told.get("weight_block_size")
    if block is not None and not _is_block(block):
        raise SourceError(
            f"config.json: quantization_config says weight_block_size {block!r}",
            expected="two numbers above 0, such as [128, 128]",
            remedy="take config.json from the model's own repository again",
        )
    scheme = choice_of(told, "activation_scheme", ("dynamic", "static"), "dynamic")
    kernel: Kernel | str = KERNEL
    if block and scheme != "dynamic":
        kernel = f"vLLM reads blocks with dynamic activations, not with {scheme} ones"
    shared = f" in blocks of {block[0]} x {block[1]}" if block else ", a scale for each matrix"
    return Stored(
        name="fp8",
        scheme=f"FP8: float8_e4m3 weights{shared}, {scheme} activations",
        bits=8 + (32 / (block[0] * block[1]) if block else 0),
        rounds_activations=True,
        group=block[1] if block else 0,
        **taken(
            vllm=kernel,
            tensorrtllm=engine_layouts.INPUTS if block or scheme == "dynamic" else engine_layouts.FLOAT8,
        ),
    )


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int and one > 0 for one in value)


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    return {"weight": (outputs, inputs)}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    scale = next(parts[mark] for mark in MARKS if mark in parts)
    return unpacking.scaled(parts["weight"].float(), scale.float(), told.get("weight_block_size"))
