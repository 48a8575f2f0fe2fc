"""Decoders of any family and size with random weights, as Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from builder import architecture

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
}
Weights = dict[str, Any]


def config(model_type: str, **changed: Any) -> dict[str, Any]:
    """Return config.json of a small model."""
    return {"model_type": model_type, **SMALL, **changed}


def weights(told: dict[str, Any], seed: int = 0) -> Weights:
    """Return random float32 tensors by their names, of a size that every 16-bit float can hold."""
    random = np.random.default_rng(seed)
    family = architecture.load(told["model_type"])
    shapes = architecture.expected_tensors(family, told, "safetensors", ())
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def write(folder: Path, told: dict[str, Any], tensors: Weights, shards: int = 1) -> Path:
    """Write a folder, its tensors dealt out to so many shards; arrays of torch are taken as well."""
    folder.mkdir(parents=True, exist_ok=True)
    save = save_file
    if any(not isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.torch import save_file as save
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "tokenizer.json").write_text("{}")
    if shards == 1:
        save(tensors, folder / "model.safetensors")
        return folder
    names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    homes = {tensor: names[number % shards] for number, tensor in enumerate(tensors)}
    for name in names:
        save({one: tensors[one] for one, home in homes.items() if home == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    return folder
