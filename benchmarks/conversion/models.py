"""Llamas of published sizes with random weights in bfloat16, made on the spot, in shards as on a hub."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from builder import architecture, recipe, safetensors_file
from builder.source import TensorInfo

SHARD_BYTES = 5 * 10**9
"""save_pretrained's own limit in the days of these models."""
POOL_ELEMENTS = 1 << 25
HEADERS = 1 << 20
"""More bytes than the headers and config.json take."""

SIZES: Mapping[str, Mapping[str, Any]] = {
    "8b": recipe.load("llama-8b").config,
    # https://huggingface.co/meta-llama/Llama-3.2-1B
    "1b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    },
    "small": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
}


def tensors(size: str) -> list[TensorInfo]:
    """Return the tensors of a size in the order of its layers."""
    config = SIZES[size]
    family = architecture.load("llama")
    shapes = architecture.expected_tensors(family, config, "safetensors", ())

    def order(name: str) -> tuple[int, int]:
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        ends = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
        return (ends.index(name) if name in ends else 0, numbers[0] if numbers else -1)

    named = {name: tuple(shape or ()) for name, shape in shapes.items()}
    found = [
        TensorInfo(name, shape, "BF16", safetensors_file.nbytes(shape, "BF16"))
        for name, shape in named.items()
    ]
    return sorted(found, key=lambda one: order(one.name))


def nbytes(size: str) -> int:
    return sum(one.nbytes for one in tensors(size)) + HEADERS


def write(folder: Path, size: str) -> Path:
    """Write a checkpoint of a size, random but for its bits of exponent: every number is finite."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    pool = random.integers(0, 1 << 16, POOL_ELEMENTS, np.uint16) & np.uint16(0x8FFF) | np.uint16(0x3000)
    shards = list(_shards(tensors(size)))
    homes = {}
    for number, shard in enumerate(shards):
        name = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        homes |= {one.name: name for one in shard}
        _write_shard(folder / name, sorted(shard, key=lambda one: one.name), memoryview(pool).cast("B"))
    config = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", **SIZES[size]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    # transformers wants both parts
    index = {"metadata": {"total_size": nbytes(size)}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def _shards(every: list[TensorInfo]) -> Iterator[list[TensorInfo]]:
    shard: list[TensorInfo] = []
    for one in every:
        if shard and sum(held.nbytes for held in shard) + one.nbytes > SHARD_BYTES:
            yield shard
            shard = []
        shard.append(one)
    yield shard


def _write_shard(path: Path, shard: list[TensorInfo], pool: memoryview) -> None:
    header = safetensors_file.described(shard)
    random = np.random.default_rng(len(path.name))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header.raw)) + header.raw)
        for one in shard:
            left = one.nbytes
            while left:
                start = 2 * int(random.integers(0, POOL_ELEMENTS // 2))
                left -= file.write(pool[start : start + min(left, POOL_ELEMENTS)])
