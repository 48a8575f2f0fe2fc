"""The witness reads quantised ranks: it answers as their source does, but for what rounding moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import quantised_decoders
import tiny_decoders
import torch
from transformers import AutoModelForCausalLM

from builder.proving import tensorrt_llm_ranks
from builder.ranks.convert import Ranks
from builder.ranks.division import Division
from builder.ranks.quantised import Quantised, convert_quantised

IDS = [3, 14, 15, 92, 65, 35, 89]
CASES = [
    ("llama", "fp8", Division(2), 0.99),
    ("qwen2", "awq", Division(2), 0.9),
    ("llama", "w4a8_awq", Division(1), 0.9),
    ("mistral", "smoothquant", Division(2), 0.999),
    ("mixtral", "fp8", Division(4, 1, 2), 0.99),
]


@pytest.mark.parametrize(("family", "method", "division", "least"), CASES)
def test_quantised_ranks_answer_nearly_as_their_source(
    family: str, method: str, division: Division, least: float, tmp_path: Path
) -> None:
    more = {"num_local_experts": 4, "num_experts_per_tok": 4} if family == "mixtral" else {}
    told = tiny_decoders.config(family, **{**quantised_decoders.SIZES, **more})
    # small enough for every layer to count
    weights = {name: (one / 16).astype(np.float16) for name, one in tiny_decoders.weights(told).items()}
    source = tiny_decoders.write(tmp_path / "source", told, weights)
    out = tmp_path / "model" / "checkpoint"
    measure = quantised_decoders.made_up(method)
    convert_quantised(source, out, Quantised(Ranks(division), method), measure)
    witness = tensorrt_llm_ranks.load(tmp_path / "model", {})
    found = np.stack([witness.start(IDS[:3], 9), *(witness.append(one) for one in IDS[3:])])
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0, 2:].numpy()
    alike = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert least < alike < 1 - 1e-9
