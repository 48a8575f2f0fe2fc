"""LoRA adapters as PEFT writes them, for models of any size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from builder.architecture import Dimensions, linear_layers

MODULES = {
    "q_proj": ("query", "self_attn"),
    "k_proj": ("key", "self_attn"),
    "v_proj": ("value", "self_attn"),
    "o_proj": ("attention_output", "self_attn"),
    "gate_proj": ("gate", "mlp"),
    "up_proj": ("up", "mlp"),
    "down_proj": ("down", "mlp"),
}


def tensors(dimensions: Dimensions, rank: int, modules: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return A and B of these modules in every layer."""
    found = {}
    for layer in range(dimensions.layers):
        for module in modules:
            role, part = MODULES[module]
            out, into = linear_layers(dimensions)[role]
            name = f"base_model.model.model.layers.{layer}.{part}.{module}"
            found[f"{name}.lora_A.weight"] = np.zeros((rank, into), dtype=np.float16)
            found[f"{name}.lora_B.weight"] = np.zeros((out, rank), dtype=np.float16)
    return found


def write(
    folder: Path,
    dimensions: Dimensions,
    rank: int = 4,
    modules: tuple[str, ...] = ("q_proj", "v_proj"),
    more: Mapping[str, np.ndarray] | None = None,
    **config: Any,
) -> Path:
    """Write the folder of an adapter; `config` are fields that differ, `more` further tensors."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    fields = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 8,
        "target_modules": list(modules),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps({**fields, **config}))
    save_file({**tensors(dimensions, rank, modules), **(more or {})}, folder / "adapter_model.safetensors")
    return folder
