"""ONNX graphs with the tensors of every pipeline, which compute nothing of use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from onnx import TensorProto, checker, helper, save

NUMBERS = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32, "STRING": TensorProto.STRING}
NODE = helper.make_node
IDS = ("input_ids", "INT32", "tokens")
SIZES = (("extent", "INT32", "extent"), ("places", "INT32", "longest"))


def write(asked: Mapping[str, Any], path: Path) -> None:
    """Write the graph that an exporter is asked for, and what it was asked into the graph."""
    nodes, inputs, outputs, constants = _parts(asked["pipeline"], asked["labels"], asked["strings"])
    told = json.dumps({name: asked[name] for name in ("precision", "most", "output")})
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [_tensor(*one) for one in inputs],
        [_tensor(*one) for one in outputs],
        constants,
        doc_string=told,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    save(made, path)


def double(path: Path, factor: float) -> Path:
    """Write a bare graph: x [rows, 2] times a factor is y."""
    graph = helper.make_graph(
        [NODE("Mul", ["x", "factor"], ["y"])],
        "double",
        [_tensor("x", "FP32", "rows", 2)],
        [_tensor("y", "FP32", "rows", 2)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _parts(
    pipeline: str, labels: list[str], strings: bool
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Return nodes, inputs, outputs and constants."""
    if pipeline == "reranking":
        nodes = [NODE("Cast", ["rows"], ["seen"], to=TensorProto.FLOAT)]
        nodes.append(NODE("ReduceMean", ["seen"], ["scores"], axes=[1], keepdims=1))
        return nodes, [IDS, *SIZES, ("rows", "INT32", "rows", 3)], [("scores", "FP32", "rows", 1)], []
    if pipeline == "image_classification":
        inputs = [("pixel_values", "FP32", "rows", 3, 4, 4)]
        nodes = [NODE("ReduceMean", ["pixel_values"], ["seen"], axes=[2, 3], keepdims=0)]
    else:
        inputs = [IDS, *SIZES, ("rows", "INT32", "rows", 2)]
        nodes = [NODE("Cast", ["rows"], ["seen"], to=TensorProto.FLOAT)]
    size = len(labels) or 8
    constants = [_ones("weights", 3 if pipeline == "image_classification" else 2, size)]
    nodes.append(NODE("MatMul", ["seen", "weights"], ["found"]))
    if pipeline == "embedding":
        nodes.append(NODE("Identity", ["found"], ["embedding"]))
        return nodes, inputs, [("embedding", "FP32", "rows", size)], constants
    if pipeline == "token_classification":
        constants.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
        nodes.append(NODE("Unsqueeze", ["found", "one"], ["token_scores"]))
        return nodes, inputs, [("token_scores", "FP32", "rows", "longest", size)], constants
    if not strings:
        nodes.append(NODE("Softmax", ["found"], ["scores"]))
        return nodes, inputs, [("scores", "FP32", "rows", size)], constants
    names = [label.encode() for label in labels]
    constants.append(helper.make_tensor("labels", TensorProto.STRING, [size], names))
    nodes += [
        NODE("Softmax", ["found"], ["scores"]),
        NODE("ArgMax", ["found"], ["best"], axis=1),
        NODE("Gather", ["labels", "best"], ["label"]),
    ]
    return nodes, inputs, [("scores", "FP32", "rows", size), ("label", "STRING", "rows", 1)], constants


def _tensor(name: str, kind: str, *dims: str | int) -> Any:
    return helper.make_tensor_value_info(name, NUMBERS[kind], dims)


def _ones(name: str, *shape: int) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, [1.0] * prod(shape))
