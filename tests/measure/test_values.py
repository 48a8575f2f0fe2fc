"""Values of a request as tensors: by hand, flat and nested alike, and refused where they do not fit."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from builder.measuring import tensors
from builder.measuring.tensors import Tensor, Unfit


@pytest.mark.parametrize(
    ("datatype", "dims", "value", "expected"),
    [
        ("BYTES", [1], "text", Tensor((1,), ["text"])),
        ("BYTES", [1], {"base64": "/9g="}, Tensor((1,), [b"\xff\xd8"])),
        ("BYTES", [-1], ["a", {"base64": ""}], Tensor((2,), ["a", b""])),
        ("BYTES", [-1], [], Tensor((0,), [])),
        ("FP32", [-1], [1, 2.5], Tensor((2,), [1, 2.5])),
        ("FP32", [2, 2], [1, 2, 3, 4], Tensor((2, 2), [1, 2, 3, 4])),
        ("FP32", [2, -1], [1, 2, 3, 4, 5, 6], Tensor((2, 3), [1, 2, 3, 4, 5, 6])),
        ("FP32", [-1, -1], [[1, 2], [3, 4], [5, 6]], Tensor((3, 2), [1, 2, 3, 4, 5, 6])),
        ("INT64", [], 7, Tensor((), [7])),
    ],
)
def test_values_by_hand(datatype: str, dims: list[int], value: Any, expected: Tensor) -> None:
    assert tensors.tensor(datatype, dims, value) == expected


@pytest.mark.parametrize(
    ("datatype", "dims", "value", "said"),
    [
        ("FP32", [2], [1], "[1]: its shape is [2]"),
        ("FP32", [2], 1, "1: its shape is [2]"),
        ("FP32", [-1, -1], [1, 2], "[1, 2]: its shape is [-1, -1]"),
        ("FP32", [2, -1], [1, 2, 3], "its shape is [2, -1]"),
        ("FP32", [3, 2], [[1, 2], [3, 4]], "its shape is [3, 2]"),
        ("FP32", [-1], [[1, 2], [3, 4]], "its shape is [-1]"),
        ("FP32", [2, 2], [[1, 2], [3]], "its dtype is FP32"),
        ("INT32", [1], "x", '"x": its dtype is INT32'),
        ("INT8", [1], 128, "128: its dtype is INT8"),
        ("BYTES", [1], None, "null: its dtype is BYTES"),
        ("BYTES", [1], {"base64": "?"}, "no base64"),
        ("BYTES", [1], {"base64": 3}, 'bytes are {"base64": "..."}'),
        ("BYTES", [1], {"text": "x"}, 'bytes are {"base64": "..."}'),
        ("FP32", [1], {"base64": "/9g="}, "its dtype is FP32"),
    ],
)
def test_what_does_not_fit_is_refused(datatype: str, dims: list[int], value: Any, said: str) -> None:
    with pytest.raises(Unfit, match=re.escape(said)):
        tensors.tensor(datatype, dims, value)


@given(arrays.arrays(np.int32, arrays.array_shapes(min_dims=2, max_dims=4, max_side=4)), st.data())
def test_flat_and_nested_are_the_same(array: np.ndarray, data: st.DataObject) -> None:
    """Also with one dim left open, and as bytes they are the array's own."""
    dims = list(array.shape)
    opened = data.draw(st.sampled_from([None, *range(len(dims))]))
    if opened is not None:
        dims[opened] = -1
    nested = tensors.tensor("INT32", dims, array.tolist())
    assert nested == tensors.tensor("INT32", dims, array.ravel().tolist())
    assert nested.shape == array.shape
    assert tensors.raw("INT32", nested.values) == array.tobytes()


@given(st.lists(st.binary()))
def test_bytes_survive_base64(found: list[bytes]) -> None:
    value = [{"base64": base64.b64encode(one).decode()} for one in found]
    assert tensors.tensor("BYTES", [-1], value).values == found


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("BYTES", ["é", b"\xff", 3], "02000000c3a9 01000000ff 0100000033"),
        ("FP16", [1.5, -2], "003e 00c0"),
        # 1.5 is 0x3fc00000 as a float32
        ("BF16", [1.5, -2], "c03f 00c0"),
        ("FP32", [1.5], "0000c03f"),
        ("BOOL", [True, False], "01 00"),
        ("INT64", [-2], "feffffffffffffff"),
        ("UINT8", [200], "c8"),
    ],
)
def test_raw_contents_by_hand(datatype: str, values: list[Any], expected: str) -> None:
    assert tensors.raw(datatype, values) == bytes.fromhex(expected)


def test_a_long_value_is_quoted_by_its_beginning() -> None:
    said = tensors.quoted([math.pi] * 100_000)
    assert len(said) == tensors.LONGEST_QUOTE + 3
    assert said.endswith("...")
