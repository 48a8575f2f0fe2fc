"""What a config says to ONNX Runtime: threads, memory, graph level, operators of its own, providers.

The parameters are those of NVIDIA's onnxruntime_backend (its README and src/onnxruntime.cc).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.onnxruntime import accelerators
from backends.onnxruntime.values import Refused, switch, whole

_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}
_ALLOCATOR = "session.use_device_allocator_for_initializers"
_SHRINK = "memory.enable_memory_arena_shrinkage"


@dataclass(frozen=True)
class Options:
    """A session's options; `providers` as onnxruntime.InferenceSession takes them.

    `graph_level` is the name of a GraphOptimizationLevel; 0 threads leave their number to ONNX Runtime.
    `entries` are of the session, `run_entries` of each of its runs.
    """

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    parallel: bool = False
    memory_arena: bool = True
    memory_pattern: bool = True
    graph_level: str = "ORT_ENABLE_ALL"
    entries: Mapping[str, str] = field(default_factory=dict)
    run_entries: Mapping[str, str] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    providers: accelerators.Providers = accelerators.CPU


def read(config: Mapping[str, Any], kind: str, device: str) -> Options:
    """Read the options of one instance.

    Args:
        config: the model's config as Triton hands it over, JSON of ModelConfig.
        kind: the instance's kind; only GPU has other providers than CPU's. `device` is its number.

    Raises:
        Refused: an accelerator or one of its parameters is unknown, or a value cannot be read.
    """
    told = {name: value.get("string_value", "") for name, value in (config.get("parameters") or {}).items()}
    optimization = config.get("optimization") or {}
    level = int((optimization.get("graph") or {}).get("level", 0))
    return Options(
        # fewer than none is none told, as in the C++ backend
        intra_op_threads=max(0, whole(told.get("intra_op_thread_count", "0"))),
        inter_op_threads=max(0, whole(told.get("inter_op_thread_count", "0"))),
        parallel=_parallel(told),
        memory_arena=switch(told.get("enable_mem_arena", "true")),
        memory_pattern=switch(told.get("enable_mem_pattern", "true")),
        graph_level=_LEVELS.get(level, "ORT_ENABLE_ALL"),
        entries=_only(told, _ALLOCATOR),
        run_entries=_only(told, _SHRINK),
        operators=tuple((config.get("model_operations") or {}).get("op_library_filename", ())),
        providers=accelerators.providers(
            optimization.get("execution_accelerators") or {}, told, kind, device
        ),
    )


def _parallel(told: Mapping[str, str]) -> bool:
    mode = whole(told.get("execution_mode", "0"))
    if mode not in (0, 1):
        raise Refused(
            "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got "
            f"{mode} ."
        )
    return mode == 1


def _only(told: Mapping[str, str], name: str) -> dict[str, str]:
    return {name: told[name]} if name in told else {}
