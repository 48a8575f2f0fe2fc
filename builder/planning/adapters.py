"""What LoRA adapters take of each GPU, and what vLLM is told of them (0.22, vllm/config/lora.py)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from builder.adapter import Adapter
from builder.architecture import Dimensions, linear_layers
from builder.planning.placement import Split

MOST_SLOTS = 8
"""How many different ones the requests of a step may use; more are swapped in from the host's memory."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that room can be made for."""

_BYTES = 2
_FUSED = (("query", "key", "value"), ("attention_output",), ("gate", "up"), ("down",))
"""Layers that vLLM computes as one: an adapter of one of them takes room in all."""
_NAMES = {
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "attention_output": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
}
_READS_A_PART = ("attention_output", "down")
"""Tensor parallelism divides what these read, and what all others write."""


def engine_arguments(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """Return the fields of vllm.EngineArgs, none without adapters."""
    if not adapters:
        return {}
    return {
        "enable_lora": True,
        "max_loras": _slots(adapters),
        # all of them, so that none is read from the disk again
        "max_cpu_loras": len(adapters),
        "max_lora_rank": _rank(adapters),
        "lora_target_modules": _modules(adapters),
    }


def bytes_on_gpu(adapters: Sequence[Adapter], dimensions: Dimensions, split: Split) -> int:
    """Return what the slots take: A [rank, in] and B [out, rank] for each layer that one of them changes.

    vLLM holds them in 16 bits, the larger side divided by tensor parallelism, the other whole
    (vllm/lora/layers, fully_sharded_loras off).
    """
    if not adapters:
        return 0
    changed, sides = set(_modules(adapters)), 0
    shapes = linear_layers(dimensions)
    for fused in _FUSED:
        if not changed & {_NAMES[role] for role in fused}:
            continue
        for role in fused:
            out, into = shapes[role]
            divided, whole = (into, out) if role in _READS_A_PART else (out, into)
            part = ceil(divided / split.tensor)
            if role in ("key", "value"):
                # beyond the number of KV heads each GPU has a copy of one
                part = max(part, dimensions.head_size)
            sides += part + whole
    stage = ceil(dimensions.layers / split.pipeline)
    return _slots(adapters) * _rank(adapters) * sides * stage * _BYTES


def _slots(adapters: Sequence[Adapter]) -> int:
    return min(len(adapters), MOST_SLOTS)


def _rank(adapters: Sequence[Adapter]) -> int:
    most = max(adapter.rank for adapter in adapters)
    return next(rank for rank in RANKS if rank >= most)


def _modules(adapters: Sequence[Adapter]) -> list[str]:
    return sorted({module for adapter in adapters for module in adapter.modules})
