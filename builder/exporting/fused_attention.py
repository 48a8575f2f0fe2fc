"""Attention as one kernel, which ONNX Runtime has for a GPU, where each node of a graph costs a launch.

It is ONNX Runtime's own operator (com.microsoft MultiHeadAttention, docs/ContribOperators.md there): graphs
for a processor, or for another runtime, keep to the standard's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DOMAIN = "com.microsoft"
OPERATOR = "MultiHeadAttention"

ENVIRONMENT: Mapping[str, str] = {"ORT_ENABLE_CUDNN_FLASH_ATTENTION": "0"}
"""What a process that runs it sets. In float16, and from compute capability 9.0 on, ONNX Runtime would take
cuDNN's attention, which plans anew for each number of rows and tokens: some 50 ms each time, where traffic
hardly repeats any. Its other kernels need no plan. See its pull request 28849."""


def attend(query: Any, key: Any, value: Any, tokens: Any, heads: int, scale: float) -> Any:
    """Return a node that attends: query, key, value and the answer are [rows, longest, heads * size].

    Args:
        query, key, value: torch tensors that are traced; the node cannot be run by torch.
        tokens: int32 [rows]; keys from there on are padding.
        heads: how many there are.
        scale: what a score is multiplied by.
    """
    import torch

    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}",
        (query, key, value, None, tokens),
        {"num_heads": heads, "scale": scale},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )


class _Projection(NamedTuple):
    """A matrix product plus bias, laid out in rows: gather(reshape(x @ weight + bias), places)."""

    x: str
    places: str
    weight: str
    bias: str


def merge_projections(model: Any) -> int:
    """Make query, key and value of each attention by one product instead of three; return of how many.

    An onnx ModelProto is changed in place. Where they are no plain projections of one thing, because they
    are rotated or have no bias, they stay.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    merged = {}
    for node in graph.node:
        if node.op_type == OPERATOR and node.domain == DOMAIN:
            parts = [_projection(makers.get(name), makers, weights) for name in node.input[:3]]
            first = parts[0]
            if first and all(part and part[:2] == first[:2] for part in parts):
                merged[node.name] = [part for part in parts if part]
    _rewrite(graph, merged, weights)
    return len(merged)


def _projection(node: Any, makers: Mapping[str, Any], weights: Mapping[str, Any]) -> _Projection | None:
    """Read a projection from its last node."""
    if node is None or node.op_type != "Gather":
        return None
    places, source = node.input[1], makers.get(node.input[0])
    while source is not None and source.op_type == "Reshape":
        source = makers.get(source.input[0])
    if source is None or source.op_type != "Add":
        return None
    for side in (0, 1):
        product = makers.get(source.input[side])
        bias = source.input[1 - side]
        if product is not None and product.op_type == "MatMul" and bias in weights:
            x, weight = product.input
            return _Projection(x, places, weight, bias) if weight in weights else None
    return None


def _rewrite(graph: Any, merged: Mapping[str, list[_Projection]], weights: Mapping[str, Any]) -> None:
    import numpy as np
    from onnx import helper, numpy_helper

    nodes = []
    for node in graph.node:
        if node.name not in merged:
            nodes.append(node)
            continue
        parts, name = merged[node.name], f"merged/{node.name}"
        matrices = [numpy_helper.to_array(weights[part.weight]) for part in parts]
        biases = [numpy_helper.to_array(weights[part.bias]) for part in parts]
        graph.initializer.append(numpy_helper.from_array(np.concatenate(matrices, 1), f"{name}/weight"))
        graph.initializer.append(numpy_helper.from_array(np.concatenate(biases), f"{name}/bias"))
        sizes = np.array([len(bias) for bias in biases], np.int64)
        graph.initializer.append(numpy_helper.from_array(sizes, f"{name}/sizes"))
        flat, width = f"{name}/flat", np.array([-1, int(sizes.sum())], np.int64)
        graph.initializer.append(numpy_helper.from_array(width, f"{name}/width"))
        thirds = [f"{name}/{what}" for what in ("query", "key", "value")]
        nodes += [
            helper.make_node("MatMul", [parts[0].x, f"{name}/weight"], [f"{name}/product"]),
            helper.make_node("Reshape", [f"{name}/product", f"{name}/width"], [flat]),
            helper.make_node("Gather", [flat, parts[0].places], [f"{name}/rows"], axis=0),
            helper.make_node("Split", [f"{name}/rows", f"{name}/sizes"], thirds, axis=2),
        ]
        node.input[:] = [*thirds, f"{name}/bias", *node.input[4:]]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)


def _drop_unused(graph: Any) -> None:
    """Drop nodes that nothing reads, and the weights that only they read."""
    kept = {one.name for one in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if kept.intersection(node.output):
            kept.update(node.input)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    weights = [weight for weight in graph.initializer if weight.name in kept]
    del graph.initializer[:]
    graph.initializer.extend(weights)
