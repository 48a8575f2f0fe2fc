"""Lone requests as captured CUDA graphs: which models may, and on a GPU that nobody sees a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.onnxruntime import replaying
from backends.onnxruntime.options import read

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def told(kind: str = "GPU", **more: Any) -> Any:
    return read({"name": "m", **more}, kind, "0")


def accelerated(name: str, **parameters: str) -> dict[str, Any]:
    return {
        "execution_accelerators": {"gpu_execution_accelerator": [{"name": name, "parameters": parameters}]}
    }


def test_a_model_on_a_gpu_may_be_replayed_and_no_other() -> None:
    assert replaying.applies(told())
    assert replaying.applies(told(optimization=accelerated("cuda", arena_extend_strategy="1")))
    assert not replaying.applies(told("CPU"))
    # TensorRT captures by itself
    assert not replaying.applies(told(optimization=accelerated("tensorrt")))


def test_who_says_something_of_graphs_or_of_memory_decides_himself() -> None:
    assert not replaying.applies(told(optimization=accelerated("cuda", enable_cuda_graph="0")))
    shrinks = {"memory.enable_memory_arena_shrinkage": {"string_value": "gpu:0"}}
    # what is given back may hold what captured kernels read
    assert not replaying.applies(told(parameters=shrinks))


def test_what_cannot_be_loaded_so_is_loaded_as_usual(tmp_path: Path) -> None:
    assert replaying.load(tmp_path / "nothing.onnx", told()) is None


@pytest.mark.gpu
def test_answers_are_the_same_whatever_came_before(tmp_path: Path) -> None:
    found = replaying.load(_graph(tmp_path / "model.onnx"), told())
    assert found is not None
    chance = np.random.default_rng(0)
    for turn in range(40):
        x = chance.normal(size=(1, (3, 5, 8)[turn % 3])).astype(np.float32)
        for _ in range(2):
            (answer,) = found.run(["y"], {"x": x})
            np.testing.assert_array_equal(answer, x * 2)


@pytest.mark.gpu
def test_memory_is_kept_for_so_many_shapes_and_no_more(tmp_path: Path) -> None:
    found = replaying.load(_graph(tmp_path / "model.onnx"), told())
    assert found is not None
    for size in range(1, 140):
        for _ in range(3):
            (answer,) = found.run(["y"], {"x": np.full((1, size), size, np.float32)})
            np.testing.assert_array_equal(answer, np.full((1, size), 2 * size, np.float32))


def _graph(path: Path) -> Path:
    """Write y [rows, n] = x + x."""
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", "n"]) for name in ("x", "y")
    ]
    body = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(
        onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path
