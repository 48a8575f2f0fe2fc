"""Requests as one batch and back, against what numpy says of each alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.onnxruntime import batch

SIZES = st.integers(1, 4)
KINDS = {
    "BATCH_ELEMENT_COUNT": lambda arrays: [len(array.reshape(-1)) for array in arrays],
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda arrays: [
        sum(len(array.reshape(-1)) for array in arrays[: place + 1]) for place in range(len(arrays))
    ],
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda arrays: [
        sum(len(array.reshape(-1)) for array in arrays[:place]) for place in range(len(arrays) + 1)
    ],
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda arrays: [0] * max(len(array.reshape(-1)) for array in arrays),
    "BATCH_ITEM_SHAPE": lambda arrays: [list(row.shape) for array in arrays for row in array],
    "BATCH_ITEM_SHAPE_FLATTEN": lambda arrays: [
        size for array in arrays for row in array for size in row.shape
    ],
}


def config(**more: Any) -> dict[str, Any]:
    tensors = [{"name": "x", "dims": ["-1", "-1"]}]
    return {"max_batch_size": 64, "input": tensors, "output": [{"name": "y", "dims": [-1, -1]}], **more}


def numbered(shapes: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return one request for each shape; every element of all of them is another number."""
    begins = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    return [
        {"x": np.arange(begin, end, dtype=np.float32).reshape(shape)}
        for begin, end, shape in zip(begins, begins[1:], shapes, strict=False)
    ]


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, expected, strict=True)


@settings(deadline=None)
@given(rows=st.lists(SIZES, min_size=1, max_size=6), rest=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_every_request_gets_its_own_rows_back(rows: list[int], rest: list[int]) -> None:
    requests = numbered([(row, *rest) for row in rows])
    layout = batch.layout(config())
    together = batch.feeds(requests, layout)["x"]
    assert together.shape == (sum(rows), *rest)
    for request, part in zip(requests, batch.parts("y", together, requests, layout), strict=True):
        same(part, request["x"])


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(SIZES, SIZES, SIZES), min_size=1, max_size=6),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_ragged_requests_lie_flat_and_batch_input_tells_where(
    shapes: list[tuple[int, int, int]], kind: str
) -> None:
    requests = numbered(shapes)
    told = config(
        input=[{"name": "x", "dims": [-1, -1], "allow_ragged_batch": True}],
        batch_input=[
            {"kind": kind, "target_name": ["w", "f"], "data_type": "TYPE_INT32", "source_input": ["x"]},
            {"kind": kind, "target_name": ["g"], "data_type": "TYPE_FP32", "source_input": ["x"]},
        ],
        batch_output=[
            {"target_name": ["y"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "source_input": ["x"]}
        ],
    )
    layout = batch.layout(told)
    found = batch.feeds(requests, layout)
    expected = KINDS[kind]([request["x"] for request in requests])
    same(found["x"], np.arange(sum(request["x"].size for request in requests), dtype=np.float32))
    same(found["w"], np.array(expected, dtype=np.int32))
    same(found["f"], np.array(expected, dtype=np.int32))
    same(found["g"], np.array(expected, dtype=np.float32))
    for request, part in zip(requests, batch.parts("y", found["x"], requests, layout), strict=True):
        same(part, request["x"])


def test_a_scattered_output_keeps_the_dims_that_are_fixed() -> None:
    told = config(
        output=[{"name": "y", "dims": [-1, 2]}],
        batch_output=[
            {"target_name": ["y"], "kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "source_input": ["x"]}
        ],
    )
    requests = numbered([(1, 3, 5), (2, 1, 7)])
    first, second = batch.parts("y", np.arange(10), requests, batch.layout(told))
    same(first, np.arange(6).reshape(1, 3, 2))
    same(second, np.arange(6, 10).reshape(2, 1, 2))
    with pytest.raises(ValueError, match=r"output tensor 'y' in responses: .* 10 in model output, got 9$"):
        batch.parts("y", np.arange(9), requests, batch.layout(told))


@pytest.mark.parametrize("output", [np.zeros((2, 1)), np.zeros(())])
def test_too_few_rows_are_no_answer(output: Any) -> None:
    requests = numbered([(2, 1, 1), (1, 1, 1)])
    told = config(output=[{"name": "y", "dims": [1]}])
    with pytest.raises(
        ValueError, match=r"'y' in responses: expected batch size of atleast 3 in model output"
    ):
        batch.parts("y", output, requests, batch.layout(told))


def test_without_batching_a_request_is_the_graphs_input() -> None:
    layout = batch.layout(config(max_batch_size=0))
    requests = numbered([(2, 3)])
    assert batch.feeds(requests, layout)["x"] is requests[0]["x"]
    same(batch.parts("y", requests[0]["x"], requests, layout)[0], requests[0]["x"])


def test_scalars_have_one_dim_in_the_config_and_none_in_the_graph() -> None:
    layout = batch.layout(config(max_batch_size=0, output=[{"name": "y", "dims": [1, 1]}]), ["x"])
    requests = numbered([(1,)])
    same(batch.feeds(requests, layout)["x"], np.array(0, np.float32))
    same(batch.parts("y", np.array(7.0), requests, layout)[0], np.array([[7.0]]))


def test_text_and_inputs_that_no_config_names_are_laid_together_too() -> None:
    """The sequence batcher's controls are such inputs."""
    requests = [{"x": np.array([["a"]], object), "START": np.array([[1]])}, {"x": np.array([["b"]], object)}]
    requests[1]["START"] = np.array([[0]])
    found = batch.feeds(requests, batch.layout(config()))
    same(found["x"], np.array([["a"], ["b"]], object))
    same(found["START"], np.array([[1], [0]]))


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ({"dims": ["2", "-1"]}, [2, -1]),
        ({"dims": [1], "reshape": {"shape": []}}, []),
        ({"dims": [1], "reshape": {}}, []),
        ({"dims": [6], "reshape": {"shape": ["2", "3"]}}, [2, 3]),
    ],
)
def test_dims_in_the_graph(tensor: Mapping[str, Any], expected: list[int]) -> None:
    assert batch.dims(tensor) == expected
