"""The GPUs of a model that NVIDIA's backend of an engine runs, which takes them without an instance group."""

from __future__ import annotations

import json
from math import prod

from builder.layout import Model

_SPLIT = ("tensor_parallel_size", "pipeline_parallel_size")
"""Fields of model.json, the arguments of vLLM (triton-inference-server/vllm_backend, src/model.py)."""


def of(model: Model) -> int:
    """Return how many GPUs the newest version takes; 1 where its model.json does not tell."""
    file = model.file(str(max(model.served)), "model.json")
    try:
        told = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
    except (ValueError, OSError, RecursionError):
        told = None
    sizes = [told.get(name) for name in _SPLIT] if isinstance(told, dict) else []
    return prod(size for size in sizes if isinstance(size, int) and size > 0)
