"""How GPTQ's numbers are chosen and packed, worked by hand; what makes up for errors is in test_gptq.py."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from builder import unpacking  # noqa: E402
from builder.errors import ConversionError  # noqa: E402
from builder.exporting import by_texts, grid  # noqa: E402
from builder.weight_formats import gptq as form  # noqa: E402


def test_eight_numbers_are_a_word_the_first_in_the_lowest_bits() -> None:
    rows = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 0, 0, 0, 7]])
    found = unpacking.words(rows, 4)
    # 0x87654321 as a signed number of 32 bits, and 0x70000000
    assert found.tolist() == [[0x87654321 - (1 << 32)], [0x70000000]]
    assert found.dtype == torch.int32
    assert torch.equal(unpacking.fields(found, 4), rows.int())


def test_the_last_word_is_filled_with_zeros() -> None:
    assert unpacking.words(torch.tensor([[3, 1]]), 4).tolist() == [[0x13]]


def test_a_packed_matrix_is_read_as_its_numbers_times_their_scales() -> None:
    torch.manual_seed(0)
    numbers = torch.randint(-8, 8, (16, 64), dtype=torch.int8)
    scales = (torch.rand(16, 2) - 0.5).half()
    told = form.described(32)
    tensors = form.pack("model.layers.0.mlp.up_proj.", numbers, scales)
    parts = {name.rsplit(".", 1)[1]: tensor for name, tensor in tensors.items()}
    assert {name: tuple(one.shape) for name, one in parts.items()} == {
        "qweight": (8, 16), "qzeros": (2, 2), "scales": (2, 16), "g_idx": (64,),
    }  # fmt: skip
    # a zero point of 8 is stored as 7
    assert set(parts["qzeros"].flatten().tolist()) == {0x77777777}
    wide = numbers.float() * scales.float().repeat_interleave(32, dim=1)
    assert torch.equal(form.weight(told, parts), wide)
    assert grid.Rounded(numbers, scales).weight().equal(wide)
    assert form.read(told).kernels["vllm"] == form.KERNEL


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_group_that_rounds_exactly_gets_the_scale_that_does(sign: float) -> None:
    """The range has one number more below zero: the scale's sign turns the group that way."""
    weight = sign * 0.5 * torch.tensor([[-8.0, 7.0, 3.0, 0.0]])
    scales = grid.covering(weight, torch.ones(4), 4)
    assert scales.tolist() == [[sign * 0.5]]


def test_what_no_input_reads_is_cut_off() -> None:
    """7.9 fills the range; where its input is always zero it counts for nothing, and 0.5 fits closer."""
    weight = torch.tensor([[7.9, 0.5, -0.5, 0.5]])
    all_alike = grid.covering(weight, torch.ones(4), 4).abs()
    unread = grid.covering(weight, torch.tensor([0.0, 1.0, 1.0, 1.0]), 4).abs()

    def lost(scale: torch.Tensor) -> float:
        of_small = weight[:, 1:] / scale
        return float(((of_small.round() - of_small) * scale).square().sum())

    assert lost(unread) < lost(all_alike)


def test_groups_of_zeros_and_of_the_smallest_numbers_have_finite_scales() -> None:
    weight = torch.tensor([[0.0, 0.0, 1e-7, -1e-7]])
    scales = grid.covering(weight, torch.ones(4), 2)
    assert scales[0, 0] == 1.0
    assert math.isclose(abs(float(scales[0, 1])), 2.0**-14)


def test_a_group_that_does_not_divide_is_refused_with_what_does() -> None:
    by_texts.require_groups({"a": 128, "b": 64}, 64)
    with pytest.raises(ConversionError, match=r"b has 96 inputs.*no whole groups of 64") as caught:
        by_texts.require_groups({"a": 128, "b": 96}, 64)
    assert "--quantize int4" in str(caught.value)
