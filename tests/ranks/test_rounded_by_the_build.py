"""Weights that trtllm-build rounds: plain in the ranks, said in config.json, rounded alike in the proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantised_decoders
import torch
from safetensors.torch import load_file

from builder.errors import UsageError
from builder.proving import rank_numbers, rank_state
from builder.ranks.convert import Ranks, convert
from builder.ranks.division import Division

EXCLUDED = ["lm_head", "*router", "*vocab_embedding"]


def rounded(weight: Any, bits: int) -> Any:
    """Each output by itself, number by number, as its largest weight becomes 128 or 8 steps."""
    found = np.zeros_like(weight, dtype=np.float32)
    for place, output in enumerate(weight.astype(np.float32)):
        step = np.float32(np.abs(output).max() / 2 ** (bits - 1))
        numbers = [int(abs(one) / step + 0.5) * (1 if one > 0 else -1) for one in output]
        kept = np.clip(numbers, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        found[place] = kept.astype(np.float32) * np.float32(np.float16(step))
    return found


@pytest.mark.parametrize(("algorithm", "bits"), [("W8A16", 8), ("W4A16", 4)])
def test_ranks_are_plain_and_the_proof_rounds_what_each_rank_has(
    algorithm: str, bits: int, tmp_path: Path
) -> None:
    weights = quantised_decoders.write(tmp_path / "source", "llama")
    convert(tmp_path / "source", tmp_path / "out", Ranks(Division(2), "", True, algorithm))
    convert(tmp_path / "source", tmp_path / "plain", Ranks(Division(2), "", True))
    for rank in ("rank0.safetensors", "rank1.safetensors"):
        assert (tmp_path / "out" / rank).read_bytes() == (tmp_path / "plain" / rank).read_bytes()
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    quantization = {"quant_algo": algorithm, "kv_cache_quant_algo": None, "exclude_modules": EXCLUDED}
    assert told["quantization"] == quantization
    for name, tensor in rank_state.State(tmp_path / "out", told).tensors():
        # ranks share the inputs of these two: each has scales of its own part
        shared = name.endswith(("o_proj.weight", "down_proj.weight"))
        parts = np.split(weights[name], 2, axis=1) if shared else [weights[name]]
        expected = [rounded(one, bits) if "proj" in name else one.astype(np.float32) for one in parts]
        np.testing.assert_allclose(tensor.numpy(), np.concatenate(expected, axis=-1), rtol=1e-6, atol=0)


def test_rounding_by_hand() -> None:
    """The largest of the first output is 8 steps of a half; 0.25 is half a step; zeros stay zeros."""
    weight = torch.tensor([[4.0, -4.0, 0.25, -0.25, 1.2, 0.2], [0.0] * 6])
    found = rank_numbers.rounded_by_the_build(weight, 4)
    assert found.tolist() == [[3.5, -4.0, 0.5, -0.5, 1.0, 0.0], [0.0] * 6]


def test_experts_have_scales_of_their_own(tmp_path: Path) -> None:
    more = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 1}
    weights = quantised_decoders.write(tmp_path / "source", "mixtral", **more)
    convert(tmp_path / "source", tmp_path / "out", Ranks(Division(2, 1, 2), rounding="W8A16"))
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    found = dict(rank_state.State(tmp_path / "out", told).tensors())
    for name in ("block_sparse_moe.experts.3.w1", "block_sparse_moe.experts.0.w2"):
        name = f"model.layers.0.{name}.weight"
        np.testing.assert_allclose(found[name].numpy(), rounded(weights[name], 8), rtol=1e-6, atol=0)
    router = load_file(tmp_path / "out" / "rank0.safetensors")["transformer.layers.0.mlp.router.weight"]
    assert torch.equal(found["model.layers.0.block_sparse_moe.gate.weight"], router)


def test_numbers_of_32_bits_are_refused(tmp_path: Path) -> None:
    quantised_decoders.write(tmp_path / "source", "llama", num_hidden_layers=1)
    with pytest.raises(UsageError, match="float32"):
        convert(tmp_path / "source", tmp_path / "out", Ranks(Division(), "fp32", rounding="W8A16"))
    assert [one.name for one in tmp_path.iterdir()] == ["source"]
