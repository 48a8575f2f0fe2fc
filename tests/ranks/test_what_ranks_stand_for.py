"""What the proof reads of quantised ranks: the numbers of their source, but for what rounding takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import quantised_decoders
import torch

from builder.proving import rank_numbers, rank_state
from builder.ranks.division import Division


@pytest.mark.parametrize(
    ("method", "division", "most"),
    [
        ("fp8", Division(2), 0.03),
        ("smoothquant", Division(2), 0.02),
        ("awq", Division(2, 2), 0.25),
        ("w4a8_awq", Division(1), 0.25),
    ],
)
def test_quantised_ranks_stand_for_their_source(
    tmp_path: Path, method: str, division: Division, most: float
) -> None:
    weights = quantised_decoders.converted(tmp_path, "llama", method, division)
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    found = dict(rank_state.State(tmp_path / "out", told).tensors())
    assert set(found) == set(weights)
    for name, tensor in found.items():
        source = weights[name].astype(np.float32)
        error = np.linalg.norm(tensor.numpy() - source) / np.linalg.norm(source)
        rounded = "proj" in name
        assert error < most if rounded else error == 0, (name, error)
        assert not rounded or error > most / 30, (name, error)


def test_quantised_experts_stand_for_their_source(tmp_path: Path) -> None:
    more = {"num_local_experts": 4, "num_experts_per_tok": 2}
    weights = quantised_decoders.converted(tmp_path, "mixtral", "fp8", Division(4, 1, 2), **more)
    told = json.loads((tmp_path / "out" / "config.json").read_text())
    for name, tensor in rank_state.State(tmp_path / "out", told).tensors():
        source = weights[name].astype(np.float32)
        assert np.linalg.norm(tensor.numpy() - source) / np.linalg.norm(source) < 0.03, name


def test_four_bits_by_hand() -> None:
    """Two outputs of four inputs: -8, 7, 1, -1 in low bits, 3, -3, 0, 2 in high ones; groups of two."""
    low, high = [-8, 7, 1, -1], [3, -3, 0, 2]
    packed = [((one & 15) | ((other & 15) << 4)) for one, other in zip(low, high, strict=True)]
    stored = torch.tensor([packed], dtype=torch.uint8).view(torch.int8)
    scale = torch.tensor([[0.5, 2.0], [1.0, 10.0]])
    smoothing = torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float16)
    found = rank_numbers.numbers(stored, scale, smoothing)
    assert found.tolist() == [[-4.0, 3.5, 2.0, -6.0], [3.0, -3.0, 0.0, 60.0]]
