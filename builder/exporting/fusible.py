"""A graph in the forms that ONNX Runtime runs as one fast kernel, still in standard operators alone.

Its own offline optimiser was tried instead: the graph that it writes loads no faster than it is fused while
it loads, and is bound to operators of one vendor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

SLOW_SKIP_NORM = (1, 30)
"""From this version on, addition and normalisation fused take a CPU 5 times as long as one after the other.

In 1.27 to 1.29 it was the plain normalisation that took so long; before, they cost the same. Measured with
one thread on [128, 384] float32, versions 1.19.2 to 1.31.1.
"""


def prepare(model: Any, device: str, runtime: str) -> None:
    """Change an onnx ModelProto in place.

    Args:
        model: its values stay the same, but for rounding.
        device: "cpu" or "gpu", where it will run.
        runtime: the version of ONNX Runtime that will run it, such as "1.31.1".
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    for node in graph.node:
        if node.op_type == "Mul":
            _halve_last(node, makers, uses)
    release = tuple(int(part) for part in runtime.split(".")[:2])
    if device == "cpu" and release >= SLOW_SKIP_NORM:
        constants = {weight.name for weight in graph.initializer}
        for node in graph.node:
            if node.op_type == "LayerNormalization" and node.input[0] in makers:
                _keep_apart(makers[node.input[0]], constants)


def _halve_last(node: Any, makers: dict[str, Any], uses: Counter[str]) -> None:
    """Turn x * (0.5 * (1 + erf(...))) into (x * (1 + erf(...))) * 0.5, the one order known as GELU."""
    for place in (0, 1):
        half = makers.get(node.input[place])
        if half is None or half.op_type != "Mul" or uses[half.output[0]] != 1:
            continue
        for side in (0, 1):
            added = makers.get(half.input[side])
            if added is None or added.op_type != "Add" or not _adds_to_erf(added, makers):
                continue
            constant, x = half.input[1 - side], node.input[1 - place]
            half.input[:] = [x, added.output[0]]
            node.input[:] = [half.output[0], constant]
            return


def _adds_to_erf(node: Any, makers: dict[str, Any]) -> bool:
    return any(name in makers and makers[name].op_type == "Erf" for name in node.input)


def _keep_apart(node: Any, constants: set[str]) -> None:
    """Write the addition of two activations as a sum: that is never fused with the normalisation after it."""
    if node.op_type == "Add" and not constants.intersection(node.input):
        node.op_type = "Sum"
