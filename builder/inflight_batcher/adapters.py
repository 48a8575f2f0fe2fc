"""LoRA adapters beside an engine of TensorRT-LLM: what it is built for, and the two caches that hold them.

Read in the sources of 1.2: cpp/tensorrt_llm/runtime/loraModule.cpp (modules, and which side of them a GPU
has a part of), batch_manager/peftCacheManager.cpp (pages and slots of the caches), and lora_manager.py and
layers/mlp.py (modules that have an effect together alone).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from builder.adapter import Adapter
from builder.architecture import Dimensions, linear_layers
from builder.errors import PlanError
from builder.planning.memory import RUNTIME_BYTES, USABLE
from builder.planning.placement import Split
from builder.target import Placed

MOST_ON_GPU = 8
"""How many adapters the GPU's cache is made for; more are brought from the host's when a step needs them."""

_BYTES = 2
_STEPS = 10_000
"""The share of the GPU's memory is told in steps of a ten-thousandth."""


@dataclass(frozen=True)
class Module:
    """A matrix that adapters may change, as the runtime knows it.

    `number` is its own, `role` the architecture's; it `reads_a_part` where tensor parallelism divides what
    goes in, and else what comes out.
    """

    name: str
    number: int
    role: str
    reads_a_part: bool = False


MODULES: Mapping[str, Module] = {
    "q_proj": Module("attn_q", 1, "query"),
    "k_proj": Module("attn_k", 2, "key"),
    "v_proj": Module("attn_v", 3, "value"),
    "o_proj": Module("attn_dense", 4, "attention_output", reads_a_part=True),
    "gate_proj": Module("mlp_h_to_4h", 5, "gate"),
    "down_proj": Module("mlp_4h_to_h", 6, "down", reads_a_part=True),
    "up_proj": Module("mlp_gate", 7, "up"),
}
"""Hugging Face's name of a layer -> the module."""

_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Layers that an engine is built for together, or the adapters of some have no effect."""


def engine_arguments(placed: Placed) -> dict[str, Any]:
    """Return flags of trtllm-build and parameters of the backend, none without adapters.

    A page of the caches holds one adapter of the largest rank that changes every module. The backend takes
    the GPU's cache before that of keys and values, as a share of what weights and buffers leave free.

    Raises PlanError for an adapter that the runtime does not read.
    """
    adapters = placed.adapters
    if not adapters:
        return {}
    _require_served(adapters, placed.dimensions)
    rank = _rank(adapters)
    memory = placed.memory
    # what is planned for all is the least that is free then
    free = int((memory.total or 0) * USABLE) - memory.weights - RUNTIME_BYTES
    return {
        "lora_plugin": "auto",
        "lora_target_modules": [module.name for module in _modules(adapters)],
        "max_lora_rank": rank,
        "lora_cache_optimal_adapter_size": rank,
        "lora_cache_max_adapter_size": rank,
        "lora_cache_gpu_memory_fraction": ceil(memory.adapters * _STEPS / max(free, 1)) / _STEPS,
        # all of them, so that none is sent a second time
        "lora_cache_host_memory_bytes": len(adapters) * _page(adapters, placed.dimensions, placed.split),
        "lora_data_type": placed.half.upper(),
    }


def bytes_on_gpu(adapters: Sequence[Adapter], dimensions: Dimensions, split: Split) -> int:
    """Return what the GPU's cache takes for as many adapters as it is made for."""
    if not adapters:
        return 0
    return min(len(adapters), MOST_ON_GPU) * _page(adapters, dimensions, split)


def runtime_shape(module: Module, dimensions: Dimensions, tensor: int) -> tuple[int, int]:
    """Return (out, in) that the runtime takes an adapter of a module for, all GPUs together.

    With more GPUs than KV heads there are as many of those as GPUs: each GPU has a copy of one.
    """
    out, into = linear_layers(dimensions)[module.role]
    if module.role in ("key", "value"):
        out = max(dimensions.key_value_heads, tensor) * dimensions.head_size
    return out, into


def _page(adapters: Sequence[Adapter], dimensions: Dimensions, split: Split) -> int:
    """Return the bytes of a page on one GPU.

    Its slots are as wide as the smallest module is for a rank of 1, A and B in a row; a module takes whole
    slots, as many for each rank.
    """
    widths = [_width(module, dimensions, split.tensor) for module in _modules(adapters)]
    slot = min(widths)
    slots = _rank(adapters) * sum(ceil(width / slot) for width in widths)
    return slots * ceil(dimensions.layers / split.pipeline) * slot * _BYTES


def _width(module: Module, dimensions: Dimensions, tensor: int) -> int:
    out, into = runtime_shape(module, dimensions, tensor)
    return into // tensor + out if module.reads_a_part else into + out // tensor


def _modules(adapters: Sequence[Adapter]) -> list[Module]:
    changed = {name for adapter in adapters for name in adapter.modules}
    built = {name for together in _TOGETHER if changed & set(together) for name in together}
    return sorted((MODULES[name] for name in built), key=lambda module: module.number)


def _rank(adapters: Sequence[Adapter]) -> int:
    return max(adapter.rank for adapter in adapters)


def _require_served(adapters: Sequence[Adapter], dimensions: Dimensions) -> None:
    inner = dimensions.heads * dimensions.head_size
    if inner == dimensions.hidden_size:
        return
    for adapter in adapters:
        if "o_proj" in adapter.modules:
            raise PlanError(
                f"--lora {adapter.name} changes o_proj, which reads {inner} numbers and writes "
                f"{dimensions.hidden_size}",
                expected="as many: TensorRT-LLM 1.2 takes attention's output for a square matrix "
                "(runtime/loraModule.cpp)",
                remedy="pass an adapter that leaves o_proj alone, or use --target vllm",
            )
