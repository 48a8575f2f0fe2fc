"""The tensors that the ranks of a TensorRT-LLM checkpoint stand for, under Hugging Face's names.

Put together by the rules of the format (reference: TensorRT-LLM's models/modeling_utils.py and layers), with
nothing of the converter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.proving import rank_numbers

_READERS = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.dense": ("self_attn.o_proj",),
    "mlp.fc": ("mlp.gate_proj",),
    "mlp.gate": ("mlp.up_proj",),
    "mlp.proj": ("mlp.down_proj",),
}
"""Module of a layer -> transformers' modules that read the same inputs."""

_QUANTISED = tuple(f"{name}." for name in ("qkv", "dense", "fc", "gate", "proj"))
"""How the names of matrices end that a quantised layer has; the others stay as they are."""


class State:
    """The tensors of all ranks, by Hugging Face's names; each is read when it is asked for."""

    def __init__(self, folder: Path, told: Mapping[str, Any]) -> None:
        from safetensors import safe_open

        mapping = told["mapping"]
        self._told = told
        self._groups = mapping["moe_ep_size"]
        files: list[Any] = [
            safe_open(folder / f"rank{rank}.safetensors", framework="pt")
            for rank in range(mapping["world_size"])
        ]
        each = mapping["tp_size"]
        self._algorithm = told["quantization"]["quant_algo"]
        self._stages = [files[first : first + each] for first in range(0, len(files), each)]
        self._names = [set(stage[0].keys()) for stage in self._stages]

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield name and float32 tensor of the whole model."""
        words, last = self._told["vocab_size"], len(self._stages) - 1
        name = "transformer.vocab_embedding.weight"
        shared = self._told["use_parallel_embedding"]
        embedding = self._joined(0, name, 0) if shared else self._first(0, name)
        yield "model.embed_tokens.weight", embedding[:words]
        yield "model.norm.weight", self._first(last, "transformer.ln_f.weight")
        yield "lm_head.weight", self._joined(last, "lm_head.weight", 0)[:words]
        each = self._told["num_hidden_layers"] // len(self._stages)
        for layer in range(self._told["num_hidden_layers"]):
            for inner, tensor in self._layer(layer // each, f"transformer.layers.{layer % each}."):
                yield f"model.layers.{layer}.{inner}", tensor

    def inputs(self) -> Iterator[tuple[str, rank_numbers.Inputs]]:
        """Yield the modules whose inputs are rounded, and how; those of experts are not seen from outside."""
        each = self._told["num_hidden_layers"] // len(self._stages)
        for layer in range(self._told["num_hidden_layers"]):
            stage, prefix = layer // each, f"transformer.layers.{layer % each}."
            for module, names in _READERS.items():
                home = f"{prefix}{module}."
                is_mixture = module.startswith("mlp") and "moe" in self._told
                if is_mixture or f"{home}activation_scaling_factor" not in self._names[stage]:
                    continue
                smoothing = None
                if f"{home}prequant_scaling_factor" in self._names[stage]:
                    shared = module in ("attention.dense", "mlp.proj")
                    name = f"{home}prequant_scaling_factor"
                    smoothing = self._joined(stage, name, 0) if shared else self._first(stage, name)
                scale = self._first(stage, f"{home}activation_scaling_factor")
                for name in names:
                    yield f"model.layers.{layer}.{name}", rank_numbers.Inputs(scale, smoothing)

    def _layer(self, stage: int, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, other in (
            ("input_layernorm.weight", "input_layernorm.weight"),
            ("post_layernorm.weight", "post_attention_layernorm.weight"),
            ("attention.dense.bias", "self_attn.o_proj.bias"),
            ("attention.q_layernorm.weight", "self_attn.q_norm.weight"),
            ("attention.k_layernorm.weight", "self_attn.k_norm.weight"),
            ("mlp.proj.bias", "mlp.down_proj.bias"),
        ):
            if prefix + name in self._names[stage]:
                yield other, self._first(stage, prefix + name)
        yield "self_attn.o_proj.weight", self._joined(stage, f"{prefix}attention.dense.weight", 1)
        for kind in ("weight", "bias"):
            if f"{prefix}attention.qkv.{kind}" in self._names[stage]:
                yield from self._heads(stage, prefix, kind)
        if f"{prefix}mlp.router.weight" in self._names[stage]:
            yield from self._experts(stage, f"{prefix}mlp.")
            return
        yield "mlp.down_proj.weight", self._joined(stage, f"{prefix}mlp.proj.weight", 1)
        for name, other in (("fc", "gate_proj"), ("gate", "up_proj")):
            for kind in ("weight", "bias"):
                if f"{prefix}mlp.{name}.{kind}" in self._names[stage]:
                    yield f"mlp.{other}.{kind}", self._joined(stage, f"{prefix}mlp.{name}.{kind}", 0)

    def _heads(self, stage: int, prefix: str, kind: str) -> Iterator[tuple[str, Any]]:
        """Yield query, key and value of the ranks, of which several may hold the same heads of the latter."""
        import torch

        ranks = [self._read(rank, f"{prefix}attention.qkv.{kind}") for rank in self._stages[stage]]
        size, shared = self._told["head_size"], self._told["num_key_value_heads"]
        queries = self._told["num_attention_heads"] // len(ranks) * size
        kept = max(1, shared // len(ranks)) * size
        copies = max(1, len(ranks) // shared)
        yield f"self_attn.q_proj.{kind}", torch.cat([rank[:queries] for rank in ranks])
        yield (
            f"self_attn.k_proj.{kind}",
            torch.cat([rank[queries : queries + kept] for rank in ranks[::copies]]),
        )
        yield f"self_attn.v_proj.{kind}", torch.cat([rank[queries + kept :] for rank in ranks[::copies]])

    def _experts(self, stage: int, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield each expert: one group of ranks has it, each rank of the group a part (layers/moe.py)."""
        import torch

        yield "block_sparse_moe.gate.weight", self._first(stage, f"{prefix}router.weight")
        for group in range(self._groups):
            ranks = self._stages[stage][group :: self._groups]
            inner = [self._read(rank, f"{prefix}fc.weight") for rank in ranks]
            outer = [self._read(rank, f"{prefix}proj.weight") for rank in ranks]
            for place in range(len(inner[0])):
                home = f"block_sparse_moe.experts.{group * len(inner[0]) + place}"
                halves = [rank[place].chunk(2) for rank in inner]
                yield f"{home}.w3.weight", torch.cat([half[0] for half in halves])
                yield f"{home}.w1.weight", torch.cat([half[1] for half in halves])
                yield f"{home}.w2.weight", torch.cat([rank[place] for rank in outer], dim=1)

    def _first(self, stage: int, name: str) -> Any:
        """Return what all ranks of a stage have alike."""
        return self._read(self._stages[stage][0], name)

    def _joined(self, stage: int, name: str, axis: int) -> Any:
        import torch

        return torch.cat([self._read(rank, name) for rank in self._stages[stage]], dim=axis)

    def _read(self, rank: Any, name: str) -> Any:
        """Return a tensor as the numbers that it stands for."""
        tensor, home = rank.get_tensor(name), name.removesuffix("weight")
        if not self._algorithm or not home.endswith(_QUANTISED):
            return tensor.float()
        if self._algorithm in rank_numbers.BITS:
            return rank_numbers.rounded_by_the_build(tensor, rank_numbers.BITS[self._algorithm])
        smoothing = f"{home}prequant_scaling_factor"
        return rank_numbers.numbers(
            tensor,
            rank.get_tensor(f"{home}weights_scaling_factor"),
            rank.get_tensor(smoothing) if smoothing in rank.keys() else None,  # noqa: SIM118 - no mapping
        )
