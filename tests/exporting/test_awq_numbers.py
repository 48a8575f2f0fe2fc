"""How AWQ chooses what inputs are scaled with, and where that goes, worked by hand; no ModelOpt is needed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from builder import quantization  # noqa: E402
from builder.exporting import awq, folding, grid, smoothing  # noqa: E402
from builder.exporting.inputs import Inputs  # noqa: E402


def heard(rows: Any) -> Inputs:
    inputs = Inputs(rows.shape[1])
    inputs.add(rows)
    return inputs


def test_magnitudes_and_products_are_means_over_all_that_was_added() -> None:
    inputs = Inputs(2)
    inputs.add(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    inputs.add(torch.tensor([[-5.0, 4.0]]))
    assert inputs.magnitudes().tolist() == [3.0, 2.0]
    # (1 + 9 + 25) / 3, (-2 - 20) / 3, (4 + 16) / 3, and twice that as GPTQ has it
    expected = torch.tensor([[70.0, -44.0], [-44.0, 40.0]]) / 3
    assert torch.allclose(inputs.of("some.weight"), expected)


def test_powers_are_scaled_so_that_largest_and_smallest_lie_alike_from_one() -> None:
    magnitudes = torch.tensor([1.0, 4.0, 16.0])
    assert smoothing.candidate(magnitudes, 0.0).tolist() == [1.0, 1.0, 1.0]
    assert torch.allclose(smoothing.candidate(magnitudes, 0.5), torch.tensor([0.5, 1.0, 2.0]))
    # an input that is always zero has the smallest, not none
    unread = smoothing.candidate(torch.tensor([0.0, 1.0]), 0.5)
    assert torch.allclose(unread, torch.tensor([0.01, 100.0]))


def test_what_is_lost_is_what_the_matrix_answers_otherwise() -> None:
    """-8 fills the range: the scale is 1. Of 0.25 and of 0.5 nothing is left; 4 times 0.25 is kept."""
    weight, products = torch.tensor([[-8.0, 0.25]]), torch.tensor([[1.0, 0.0], [0.0, 9.0]])
    by = [float(smoothing.lost(weight, torch.tensor([1.0, one]), products, 2)) for one in (1.0, 2.0, 4.0)]
    assert by == [9 / 16, 9 / 16, 0.0]


def test_the_input_that_is_large_is_scaled_up_and_none_where_all_are_alike() -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(32, 64), torch.randn(512, 64)
    large = rows.clone()
    large[:, 5] *= 50
    found = heard(large)
    scale = smoothing.best([weight], found.of("some.weight"), found.magnitudes(), 64)
    assert scale.argmax() == 5 and scale[5] > 2 * scale.median()
    constant = torch.full((64,), 2.0)
    same = smoothing.best([weight], heard(rows).of("some.weight"), constant, 64)
    assert torch.equal(same, torch.ones(64))


def test_inputs_of_outlying_size_lose_less_than_by_rounding_to_the_nearest() -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(48, 128), torch.randn(1024, 128)
    rows[:, [5, 77]] *= 30
    found = heard(rows)
    products = found.of("some.weight")
    scale = smoothing.best([weight], products, found.magnitudes(), 64)

    def lost(made: Any) -> float:
        return float((((made - weight) @ products) * (made - weight)).sum())

    plain = grid.nearest(weight, grid.covering(weight, products.diag(), 64)).weight()
    scaled = smoothing.rounded(weight * scale, scale, products, 64).weight() / scale
    assert lost(scaled) < 0.7 * lost(plain)


def test_scales_go_into_norms_rows_and_their_biases() -> None:
    tensors = {
        "input_norm": torch.tensor([4.0, 4.0]),
        "query": torch.tensor([[1.0, 1.0]]),
        "value": torch.tensor([[2.0, 2.0], [4.0, 4.0]]),
        "value_bias": torch.tensor([6.0, 8.0]),
        "attention_output": torch.tensor([[1.0, 1.0]]),
    }
    wide, narrow = torch.tensor([2.0, 0.5]), torch.tensor([2.0, 4.0])
    scales = {"query": wide, "value": wide, "attention_output": narrow}
    found = {role: one.tolist() for role, one in folding.folded(tensors, scales).items()}
    assert found == {
        "input_norm": [2.0, 8.0],
        "query": [[2.0, 0.5]],
        # columns by the norm's, rows by what the next matrix takes
        "value": [[2.0, 0.5], [2.0, 0.5]],
        "value_bias": [3.0, 2.0],
        "attention_output": [[2.0, 4.0]],
    }
    assert folding.touched(tensors) == ["input_norm", "value_bias"]


def test_neither_searching_nor_rounding_takes_modelopt() -> None:
    assert awq.METHOD.name == "awq"
    before = "modelopt" in sys.modules
    found = heard(torch.randn(32, 64))
    smoothing.best([torch.randn(8, 64)], found.of("some.weight"), found.magnitudes(), 64)
    assert ("modelopt" in sys.modules) == before


def test_groups_and_limits_are_of_the_target() -> None:
    everywhere = quantization.load("awq")
    assert quantization.served("awq", "tensorrtllm") == everywhere and everywhere.group == 0
    for target in ("onnx", "vllm"):
        found, gptq = quantization.served("awq", target), quantization.served("gptq", target)
        assert (found.group, found.budget) == (64, gptq.budget)
        assert (found.weight_bits, found.cache_bytes) == (gptq.weight_bits, gptq.cache_bytes)
        assert (found.embedding_bits, found.head_bits) == (gptq.embedding_bits, gptq.head_bits)
    assert (
        everywhere.budget.held_out.perplexity < quantization.served("awq", "vllm").budget.held_out.perplexity
    )
