"""Small graphs, and the folders that serve them, made with the onnx package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, BRAIN, TEXT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.STRING
INT32, INT64, BOOL = TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL

Dims = Sequence[int | str | None] | None


def tensor(name: str, kind: int, dims: Dims) -> Any:
    return helper.make_tensor_value_info(name, kind, dims)


def graph(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], **weights: Any) -> Any:
    """Return a model of an opset and IR version that ONNX Runtime of 24.10 knows."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def identity(kind: int = FLOAT, dims: Dims = ("n", "m"), out: Dims = None) -> Any:
    """Return y = x."""
    return graph(
        [node("Identity", "x", "y")],
        [tensor("x", kind, dims)],
        [tensor("y", kind, dims if out is None else out)],
    )


def add() -> Any:
    """Return total = a + b and difference = a - b of rows of four."""
    return graph(
        [node("Add", "a b", "total"), node("Sub", "a b", "difference")],
        [tensor("a", FLOAT, ["n", 4]), tensor("b", FLOAT, ["n", 4])],
        [tensor("total", FLOAT, ["n", 4]), tensor("difference", FLOAT, ["n", 4])],
    )


def segments() -> Any:
    """Return the sum of each request's values, which come flat, and the values doubled."""
    return graph(
        [
            node("Slice", "bounds first last axes", "starts"),
            node("Slice", "bounds second beyond axes", "ends"),
            node("CumSum", "x axis", "running"),
            node("Concat", "zero running", "sums", axis=0),
            node("Gather", "sums ends", "upper"),
            node("Gather", "sums starts", "lower"),
            node("Sub", "upper lower", "flat"),
            node("Unsqueeze", "flat one", "total"),
            node("Add", "x x", "twice"),
        ],
        [tensor("x", FLOAT, ["k"]), tensor("bounds", INT32, ["b"])],
        [tensor("total", FLOAT, ["n", 1]), tensor("twice", FLOAT, ["k"])],
        axis=np.array(0, np.int64),
        zero=np.zeros(1, np.float32),
        one=np.array([1], np.int64),
        axes=np.array([0], np.int64),
        first=np.array([0], np.int64),
        last=np.array([-1], np.int64),
        second=np.array([1], np.int64),
        beyond=np.array([2**31], np.int64),
    )


def scaled(optional: bool = True) -> Any:
    """Return y = x * w, where w is 2 unless it is given."""
    inputs = [tensor("x", FLOAT, ["m"]), *([tensor("w", FLOAT, [1])] if optional else [])]
    return graph(
        [node("Mul", "x w", "y")], inputs, [tensor("y", FLOAT, ["m"])], w=np.array([2.0], np.float32)
    )


def write(repository: Path, name: str, model: Any, config: str, file: str = "model.onnx") -> Path:
    """Write a model's folder; bytes are written as they stand."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    if not isinstance(model, bytes):
        onnx.checker.check_model(model)
    (folder.parent / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{config}\n')
    return folder.parent


def working() -> Any:
    """Return twice the elements of each request, after x products of matrices; less than none is an error."""
    state = tensor("state", FLOAT, [256, 256])
    body = helper.make_graph(
        [node("Identity", "going", "goes_on"), node("MatMul", "state matrix", "next")],
        "work",
        [tensor("turn", INT64, []), tensor("going", BOOL, []), state],
        [tensor("goes_on", BOOL, []), tensor("next", FLOAT, [256, 256])],
    )
    nodes = [
        node("ReduceMax", "x", "most", keepdims=0),
        node("Cast", "most", "turns", to=INT64),
        node("Loop", "turns true matrix", "worked", body=body),
        node("ReduceSum", "worked", "nothing", keepdims=0),
        node("ReduceMin", "x", "least", keepdims=0),
        node("Min", "least nothing", "index"),
        node("Cast", "index", "place", to=INT64),
        node("Gather", "one_zero place", "zero"),
        node("Add", "counts counts", "sums"),
        node("Add", "sums zero", "flat"),
        node("Reshape", "flat rows", "doubled"),
    ]
    weights = {
        "true": np.array(True),
        "matrix": np.zeros((256, 256), np.float32),
        "one_zero": np.zeros(1, np.float32),
        "rows": np.array([-1, 1], np.int64),
    }
    inputs = [tensor("x", FLOAT, ["n"]), tensor("counts", FLOAT, ["r"])]
    return graph(nodes, inputs, [tensor("doubled", FLOAT, ["r", 1])], **weights)
