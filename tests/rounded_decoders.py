"""Small decoders with a tokenizer that knows words, and what a rounded one says in plain weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_decoders

from builder.calibration import texts
from builder.exporting import graph_of_rounded
from builder.weight_formats import gptq as form

FAMILIES = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {"sliding_window": 8}),
    ("qwen2", {}),
    ("qwen3", {}),
]
SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 8, "vocab_size": 512}
GROUP = 64


def written(folder: Path, model_type: str, words: bool = True, **changed: Any) -> dict[str, Any]:
    """Write a decoder whose tokenizer knows the shipped texts' words, or none; return its weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    told = tiny_decoders.config(model_type, **{**SIZES, **changed})
    weights = {name: one * np.float32(0.1) for name, one in tiny_decoders.weights(told).items()}
    tiny_decoders.write(folder, told, weights)
    known = sorted({word for text in texts.read().pieces() for word in text})[: SIZES["vocab_size"] - 1]
    vocabulary = {word: number for number, word in enumerate(["<unk>", *(known if words else ())])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return weights


def read(out: Path) -> dict[str, Any]:
    """Return the tensors of what was written as plain weights, as any reader of the format sees them."""
    from safetensors.torch import load_file

    told = json.loads((out / "config.json").read_text())["quantization_config"]
    homes = json.loads((out / graph_of_rounded.INDEX).read_text())["weight_map"]
    held = {name: one for file in sorted(set(homes.values())) for name, one in load_file(out / file).items()}
    assert set(held) == set(homes)
    found = {}
    for name, tensor in held.items():
        stem, part = name.rsplit(".", 1)
        if part == "qweight":
            parts = {one: held[f"{stem}.{one}"] for one in ("qweight", "qzeros", "scales", "g_idx")}
            found[f"{stem}.weight"] = form.weight(told, parts)
        elif part in ("weight", "bias"):
            found[name] = tensor
    return found
