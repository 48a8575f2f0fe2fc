"""Ranks as a witness: transformers answers from what the converter wrote as it does from the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders
import torch
from transformers import AutoModelForCausalLM

from builder.proving import tensorrt_llm_ranks
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division

IDS = [3, 14, 15, 92, 65, 35, 89]
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
CASES: list[tuple[str, Division, dict[str, Any], dict[str, Any]]] = [
    ("llama", Division(1), {"tie_word_embeddings": True, "rope_theta": 500.0, "rope_scaling": LLAMA3}, {}),
    ("llama", Division(4, 2), {"attention_bias": True, "mlp_bias": True}, {}),
    ("mistral", Division(2), {"sliding_window": 3}, {"max_attention_window_size": [3]}),
    ("mixtral", Division(4, 1, 2), {"num_local_experts": 4, "num_experts_per_tok": 2}, {}),
    ("qwen2", Division(2), {"rms_norm_eps": 1e-3, "rope_scaling": {"type": "yarn", "factor": 4.0}}, {}),
    ("qwen3", Division(8), {}, {}),
    (
        "qwen2", Division(1),
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
        {"max_attention_window_size": [64, 3]},
    ),
]  # fmt: skip


def written(folder: Path, family: str, division: Division, changed: dict[str, Any]) -> tuple[Path, Path]:
    told = tiny_decoders.config(family, **changed)
    weights = {name: one / 4 for name, one in tiny_decoders.weights(told).items()}
    source = tiny_decoders.write(folder / "source", told, weights)
    convert(source, folder / "model" / "checkpoint", Ranks(division, "", division.tensor > 1))
    return source, folder / "model"


def answered(folder: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([IDS])).logits[0].numpy()


@pytest.mark.parametrize(
    ("family", "division", "changed", "told"), CASES, ids=[f"{one[0]}-{one[1].ranks}" for one in CASES]
)
def test_the_ranks_answer_as_their_source(
    tmp_path: Path, family: str, division: Division, changed: dict[str, Any], told: dict[str, Any]
) -> None:
    source, model = written(tmp_path, family, division, changed)
    witness = tensorrt_llm_ranks.load(model, told)
    found = [witness.start(IDS[:3], 9), *(witness.append(one) for one in IDS[3:])]
    np.testing.assert_allclose(np.stack(found), answered(source)[2:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"), [("rotary_base", 50.0), ("norm_epsilon", 0.1), ("num_key_value_heads", 4)]
)
def test_a_config_that_says_something_else_answers_otherwise(tmp_path: Path, field: str, value: Any) -> None:
    source, model = written(tmp_path, "llama", Division(2), {})
    path = model / "checkpoint" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    try:
        witness = tensorrt_llm_ranks.load(model, {})
    except (RuntimeError, ValueError):
        return  # the ranks are not even of that shape
    assert np.abs(witness.start(IDS, 9) - answered(source)[-1]).max() > 1e-3


def test_what_a_rank_lacks_is_no_answer(tmp_path: Path) -> None:
    _, model = written(tmp_path, "llama", Division(2), {})
    (model / "checkpoint" / "rank1.safetensors").unlink()
    with pytest.raises(OSError, match="rank1"):
        tensorrt_llm_ranks.load(model, {})
