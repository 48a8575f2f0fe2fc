"""The plain way with torch and safetensors: load every tensor, join what belongs together, save."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_ALIKE = {
    "self_attn.o_proj": "attention.dense",
    "mlp.gate_proj": "mlp.fc",
    "mlp.up_proj": "mlp.gate",
    "mlp.down_proj": "mlp.proj",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_layernorm",
}


def main(source: Path, out: Path) -> None:
    """Write one rank of a Llama."""
    held: dict[str, torch.Tensor] = {}
    for file in sorted(source.glob("*.safetensors")):
        held |= load_file(file)
    made = {
        "transformer.vocab_embedding.weight": held["model.embed_tokens.weight"],
        "transformer.ln_f.weight": held["model.norm.weight"],
        "lm_head.weight": held["lm_head.weight"],
    }
    for layer in range(json.loads((source / "config.json").read_text())["num_hidden_layers"]):
        theirs, ours = f"model.layers.{layer}", f"transformer.layers.{layer}"
        parts = [held[f"{theirs}.self_attn.{part}_proj.weight"] for part in "qkv"]
        made[f"{ours}.attention.qkv.weight"] = torch.cat(parts)
        made |= {f"{ours}.{name}.weight": held[f"{theirs}.{one}.weight"] for one, name in _ALIKE.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in made.values()):
        raise SystemExit("not every weight is a number")
    out.mkdir(parents=True)
    save_file(made, out / "rank0.safetensors")
    with (out / "rank0.safetensors").open("rb") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
