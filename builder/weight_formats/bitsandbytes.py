"""bitsandbytes: 4-bit NF4 or FP4 weights in blocks, or LLM.int8() rows, as transformers saves them.

4 bits: `weight` uint8 [numbers / 2, 1], the first number of a byte in its high bits, `weight.quant_map`
float32 [16], `weight.absmax` of each block, and a JSON text in `weight.quant_state.bitsandbytes__nf4`; nested
absmax is a code into `weight.nested_quant_map` times `weight.nested_absmax`, plus an offset. 8 bits: `weight`
int8 [outputs, inputs] and `SCB`, the largest of each row (bitsandbytes 0.50, functional.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from builder import engine_layouts
from builder.errors import SourceError
from builder.weight_format import Kernel, Stored, choice_of, field_of, taken
from builder.weights import Shape

MARKS = ("weight.absmax", "SCB")
KERNEL = Kernel("bitsandbytes", "7.0")
"""BitsAndBytesConfig.get_min_capability (vLLM 0.22, quantization/bitsandbytes.py)."""
REQUIREMENTS = {"bitsandbytes": "bitsandbytes"}
"""vLLM asks for its kernels and does not bring them."""
BLOCK = 64
STATES = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")


def read(told: Mapping[str, Any]) -> Stored:
    """Read `load_in_8bit`, `load_in_4bit`, `bnb_4bit_quant_type` and its storage."""
    if _is_int8(told):
        return Stored(
            name="bitsandbytes",
            scheme="bitsandbytes: int8 weights, a scale for each output, 8-bit activations but for outliers",
            bits=8,
            rounds_activations=True,
            splits=False,
            **taken(vllm=KERNEL, tensorrtllm=engine_layouts.NO_LAYOUT),
        )
    kind = choice_of(told, "bnb_4bit_quant_type", ("nf4", "fp4"), "fp4")
    nested = field_of(told, "bnb_4bit_use_double_quant", kind=bool, default=False)
    storage = field_of(told, "bnb_4bit_quant_storage", kind=str, default="uint8")
    kernel = KERNEL if storage == "uint8" else f"vLLM reads bytes of uint8, not of {storage}"
    return Stored(
        name="bitsandbytes",
        scheme=f"bitsandbytes: 4-bit {kind} weights in blocks of {BLOCK}{', scales quantised too' * nested}",
        bits=4 + (8 if nested else 32) / BLOCK,
        # the state of a block cannot be divided: bitsandbytes_loader.py
        splits=False,
        **taken(vllm=kernel, tensorrtllm=engine_layouts.NO_LAYOUT),
    )


def _is_int8(told: Mapping[str, Any]) -> bool:
    eight: bool = field_of(told, "load_in_8bit", kind=bool, default=False)
    # vLLM takes 4 bits where neither is said
    four = field_of(told, "load_in_4bit", kind=bool, default=not eight)
    if eight == four:
        raise SourceError(
            f"config.json: quantization_config says load_in_8bit {eight} and load_in_4bit {four}",
            expected="one of them to be true",
            remedy="take config.json from the model's own repository again",
        )
    return eight


def packed(told: Mapping[str, Any], outputs: int, inputs: int) -> Mapping[str, Shape]:
    """Return the shape of the packed numbers."""
    if _is_int8(told):
        return {"weight": (outputs, inputs)}
    return {"weight": ((outputs * inputs + 1) // 2, 1)}


def weight(told: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return [outputs, inputs] in float32."""
    if "SCB" in parts:
        return parts["weight"].float() * (parts["SCB"].float() / 127)[:, None]
    state = json.loads(bytes(next(parts[name] for name in STATES if name in parts).tolist()))
    packed = parts["weight"].flatten()
    codes = _stacked(packed >> 4, packed & 15)
    numbers = parts["weight.quant_map"].float()[codes]
    scales = _scales(state, parts).repeat_interleave(int(state["blocksize"]))[: numbers.numel()]
    return (numbers * scales).reshape(state["shape"])


def _stacked(first: Any, second: Any) -> Any:
    import torch

    return torch.stack((first, second), dim=1).flatten().long()


def _scales(state: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    absmax = parts["weight.absmax"]
    if "weight.nested_absmax" not in parts:
        return absmax.float()
    codes = parts["weight.nested_quant_map"].float()[absmax.long()]
    outer = parts["weight.nested_absmax"].float().repeat_interleave(int(state["nested_blocksize"]))
    return codes * outer[: codes.numel()] + float(state["nested_offset"])
