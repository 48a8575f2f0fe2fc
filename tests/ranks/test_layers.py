"""A decoder one layer at a time makes, bit for bit, what transformers' whole model makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import quantised_decoders
import torch
from transformers import AutoModelForCausalLM

from builder.exporting.layers import Layers
from builder.ranks import convert
from builder.ranks.convert import Ranks
from builder.ranks.division import Division

IDS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38]
FAMILIES = [
    ("llama", {"tie_word_embeddings": True, "attention_bias": True}),
    ("mistral", {"sliding_window": 4}),
    # of three layers the first sees all, the others four tokens
    (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "num_hidden_layers": 3},
    ),
    ("qwen3", {}),
    ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
]


@pytest.mark.parametrize(("family", "changed"), FAMILIES)
def test_layer_by_layer(family: str, changed: dict[str, Any], tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path, family, **changed)
    prepared = convert.prepare(tmp_path, Ranks(Division(), "fp32"))
    layers = Layers(prepared)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, experts_implementation="eager"
    )
    expected: list[Any] = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, read, made: expected.append(made))
    with torch.inference_mode():
        model(torch.tensor([IDS]), use_cache=False)
        (state,) = layers.embedded([IDS])
        assert layers.count == len(expected) == changed.get("num_hidden_layers", 2)
        for number, whole in enumerate(expected):
            state = layers.run(layers.model(number), state)
            assert torch.equal(state, whole), number
