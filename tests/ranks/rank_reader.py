"""Rebuild a Hugging Face state from rank files, by the rules of the format written down a second time.

It shares no code with the converter: names and splits are spelled out here, as a reader of the files would.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

Tensors = dict[str, Any]


def rebuild(folder: Path) -> Tensors:
    """Return the whole model's tensors by Hugging Face's names; what ranks have twice must be equal."""
    config = json.loads((folder / "config.json").read_text())
    mapping = config["mapping"]
    stages = [
        [
            load_file(folder / f"rank{stage * mapping['tp_size'] + position}.safetensors")
            for position in range(mapping["tp_size"])
        ]
        for stage in range(mapping["pp_size"])
    ]
    state = _ends(stages, config)
    per_stage = config["num_hidden_layers"] // len(stages)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"transformer.layers.{layer % per_stage}."
        ranks = [
            {name.removeprefix(prefix): one for name, one in rank.items() if name.startswith(prefix)}
            for rank in stages[layer // per_stage]
        ]
        found = _attention(ranks, config) | _feed_forward(ranks, config)
        state |= {f"model.layers.{layer}.{name}": one for name, one in found.items()}
    return state


def same(ranks: list[Tensors], name: str) -> Any:
    """Return what all ranks have alike."""
    first = ranks[0][name]
    for rank in ranks[1:]:
        np.testing.assert_array_equal(rank[name], first)
    return first


def _ends(stages: list[list[Tensors]], config: dict[str, Any]) -> Tensors:
    words, first, last = config["vocab_size"], stages[0], stages[-1]
    name = "transformer.vocab_embedding.weight"
    embedding = _rows(first, name)[:words] if config["use_parallel_embedding"] else same(first, name)
    head = _rows(last, "lm_head.weight")
    assert len(head) - words in range(len(last)) and not head[words:].any()
    assert not any(name in rank for stage in stages[1:] for rank in stage)
    ends = {"transformer.ln_f.weight", "lm_head.weight"}
    assert not any(ends & rank.keys() for stage in stages[:-1] for rank in stage)
    return {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": same(last, "transformer.ln_f.weight"),
        "lm_head.weight": head[:words],
    }


def _rows(ranks: list[Tensors], name: str) -> Any:
    return np.concatenate([rank[name] for rank in ranks])


def _columns(ranks: list[Tensors], name: str) -> Any:
    return np.concatenate([rank[name] for rank in ranks], axis=1)


def _attention(ranks: list[Tensors], config: dict[str, Any]) -> Tensors:
    state = {
        "input_layernorm.weight": same(ranks, "input_layernorm.weight"),
        "post_attention_layernorm.weight": same(ranks, "post_layernorm.weight"),
        "self_attn.o_proj.weight": _columns(ranks, "attention.dense.weight"),
    }
    for name, other in (
        ("attention.dense.bias", "o_proj.bias"),
        ("attention.q_layernorm.weight", "q_norm.weight"),
        ("attention.k_layernorm.weight", "k_norm.weight"),
    ):
        if name in ranks[0]:
            state[f"self_attn.{other}"] = same(ranks, name)
    for kind in ("weight", "bias"):
        if f"attention.qkv.{kind}" in ranks[0]:
            parts = _parted([rank[f"attention.qkv.{kind}"] for rank in ranks], config)
            state |= {f"self_attn.{part}_proj.{kind}": one for part, one in parts.items()}
    return state


def _parted(ranks: list[Any], config: dict[str, Any]) -> Tensors:
    size, heads, shared = config["head_size"], config["num_attention_heads"], config["num_key_value_heads"]
    queries, kept = heads // len(ranks) * size, max(1, shared // len(ranks)) * size
    # every so many ranks in a row hold the same head
    copies = max(1, len(ranks) // shared)
    keys = [rank[queries : queries + kept] for rank in ranks]
    values = [rank[queries + kept :] for rank in ranks]
    for part in (keys, values):
        for number, one in enumerate(part):
            np.testing.assert_array_equal(one, part[number // copies * copies])
    return {
        "q": np.concatenate([rank[:queries] for rank in ranks]),
        "k": np.concatenate(keys[::copies]),
        "v": np.concatenate(values[::copies]),
    }


def _feed_forward(ranks: list[Tensors], config: dict[str, Any]) -> Tensors:
    if "mlp.router.weight" in ranks[0]:
        return _experts(ranks, config["mapping"])
    state = {}
    for name, other in (("fc", "gate_proj"), ("gate", "up_proj")):
        for kind in ("weight", "bias"):
            if f"mlp.{name}.{kind}" in ranks[0]:
                state[f"mlp.{other}.{kind}"] = _rows(ranks, f"mlp.{name}.{kind}")
    state["mlp.down_proj.weight"] = _columns(ranks, "mlp.proj.weight")
    if "mlp.proj.bias" in ranks[0]:
        state["mlp.down_proj.bias"] = same(ranks, "mlp.proj.bias")
    return state


def _experts(ranks: list[Tensors], mapping: dict[str, int]) -> Tensors:
    groups = mapping["moe_ep_size"]
    state = {"block_sparse_moe.gate.weight": same(ranks, "mlp.router.weight")}
    each = len(ranks[0]["mlp.fc.weight"])
    for expert in range(each * groups):
        # moe_ep_rank = tp_rank % moe_ep_size, moe_tp_rank = tp_rank // moe_ep_size
        holders = [rank for number, rank in enumerate(ranks) if number % groups == expert // each]
        halves = [np.split(rank["mlp.fc.weight"][expert % each], 2) for rank in holders]
        name = f"block_sparse_moe.experts.{expert}"
        state[f"{name}.w3.weight"] = np.concatenate([up for up, _ in halves])
        state[f"{name}.w1.weight"] = np.concatenate([gate for _, gate in halves])
        parts = [rank["mlp.proj.weight"][expert % each] for rank in holders]
        state[f"{name}.w2.weight"] = np.concatenate(parts, axis=1)
    return state
