"""Floats seen as whole numbers: what is none is found, and types become others as torch does it."""

from __future__ import annotations

import numpy as np
import pytest

from builder.ranks import numbers

torch_types = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_each_of_the_65536_is_a_number_or_is_found(dtype: str) -> None:
    import torch

    every = np.arange(1 << 16, dtype=np.uint16)
    finite = (
        torch.from_numpy(every.view(np.int16)).view(getattr(torch, torch_types[dtype])).isfinite().numpy()
    )
    assert [numbers.is_finite(every[one : one + 1], dtype) for one in range(1 << 16)] == finite.tolist()
    np.testing.assert_array_equal(numbers.not_finite(every, dtype), np.flatnonzero(~finite))
    assert numbers.is_finite(every[finite], dtype)


@pytest.mark.parametrize("dtype", ["F32", "F64"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, -np.nan])
def test_one_that_is_none_among_many(dtype: str, bad: float) -> None:
    values = np.full(3 * numbers.BLOCK, np.finfo("f4" if dtype == "F32" else "f8").max).astype(
        "<f4" if dtype == "F32" else "<f8"
    )
    values[::2] *= -1
    assert numbers.is_finite(values.view(numbers.UNSIGNED[dtype]), dtype)
    values[-7] = bad
    assert not numbers.is_finite(values.view(numbers.UNSIGNED[dtype]), dtype)
    found = numbers.not_finite(values.view(numbers.UNSIGNED[dtype]), dtype)
    assert found.tolist() == [len(values) - 7]


@pytest.mark.parametrize("source", list(numbers.UNSIGNED))
@pytest.mark.parametrize("wanted", ["BF16", "F16", "F32"])
def test_as_torch_rounds(source: str, wanted: str) -> None:
    import torch

    random = np.random.default_rng(0)
    wide = random.standard_normal(20000) * 10.0 ** random.integers(-42, 40, 20000)
    # halfway between two bfloat16 and two float16, up and down; the smallest and the largest
    wide[:8] = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, 3.3895e38, 65519, 65520, -0.0]
    given = torch.from_numpy(wide).to(torch.float32).to(getattr(torch, torch_types[source]))
    given = given[given.isfinite()]
    width = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    raw = given.view(width[given.element_size()]).numpy().view(numbers.UNSIGNED[source])
    expected = given.to(getattr(torch, torch_types[wanted]))
    expected = expected.view(width[expected.element_size()]).numpy().view(numbers.UNSIGNED[wanted])
    np.testing.assert_array_equal(numbers.converted(raw, source, wanted), expected)
