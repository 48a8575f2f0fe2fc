"""The ends of a graph: what it takes and gives under the names and shapes that Triton's config states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder.sources.onnx import DATA_TYPES

INNER = "inner/"
BATCH = "rows"

ELEMENT_TYPES = {triton: element for element, triton in DATA_TYPES.items()}


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values throughout a graph and the graphs inside its nodes, ends and weights included."""
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                rename(inner, names)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


def inward(graph: Any, names: Iterable[str]) -> None:
    """Give inner names to values, so that theirs are free for the graph's ends."""
    rename(graph, {name: INNER + name for name in names})


def end(name: str, data_type: str, dims: Sequence[int], *, batches: bool) -> Any:
    """Return what an input or output says of itself; `dims` without the batch, -1 for an open one."""
    from onnx import helper

    shape = [*([BATCH] if batches else []), *(None if size < 0 else size for size in dims)]
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[data_type], shape)


def reshape(graph: Any, source: str, target: str, shape: Sequence[int]) -> Any:
    """Return a node that gives `source` another shape, -1 for the batch; its weights go into the graph."""
    import numpy as np
    from onnx import helper, numpy_helper

    name = f"{INNER}shape of {target}"
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    return helper.make_node("Reshape", [source, name], [target], name=f"{INNER}reshape to {target}")


def square(model: Any, config: Mapping[str, Any]) -> None:
    """Give a dimension to every input and output that has none beside the batch: Triton has no scalars."""
    graph, batches = model.graph, bool(config["batches"])
    row = [-1] if batches else []
    before, after = [], []
    for ends, entries, is_input in (
        (graph.input, config["inputs"], True),
        (graph.output, config["outputs"], False),
    ):
        told = {one["name"]: one for one in entries}
        for value in ends:
            name, rank = value.name, len(value.type.tensor_type.shape.dim)
            if name not in told or rank > len(row):
                continue
            inward(graph, [name])
            value.CopyFrom(end(name, told[name]["data_type"], [1], batches=batches))
            if is_input:
                before.append(reshape(graph, name, INNER + name, row))
            else:
                after.append(reshape(graph, INNER + name, name, [*row, 1]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
