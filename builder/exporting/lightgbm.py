"""Trees of LightGBM as one ONNX graph; run as `python -m builder.exporting.lightgbm REQUEST.json`.

LightGBM compares in float64, the graph in float32. A number that a request can hold, a float32, lies on the
same side of a threshold in both when the threshold is rounded down, so that is done to each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import trust
from builder.exporting import double_trees, graph_file, tables
from builder.sources import tabular as source
from builder.tabular import reading, sklearn
from builder.tabular.lightgbm import splits

# the newest that onnxmltools writes for trees
TARGET_OPSET = 15
_LINKS = ("treeids", "nodeids", "truenodeids", "falsenodeids")

Sides = Mapping[tuple[int, int], tuple[int, int]]
"""(tree, node) -> the nodes on either side of its split."""


def export(path: Path, folder: Path) -> None:
    """Write the trees as `model.onnx`, its inputs and outputs as the plan said.

    Raises:
        SourceError: the file cannot be read, or holds no model that a graph can give the answers of.
    """
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    with trust.granted():
        config, native = source.read(str(path), None).config, sklearn.booster(load(path))
    types = [("columns", FloatTensorType([None, native.num_feature()]))]
    graph = onnxmltools.convert_lightgbm(native, initial_types=types, zipmap=False, target_opset=TARGET_OPSET)
    if any(one["data_type"] == "FP64" for one in config["inputs"]):
        _widen(graph, native)
    else:
        _round_down(graph, native)
    graph_file.write(tables.finish(graph, config, merged=True), folder)


def load(path: Path) -> Any:
    """Return the model: LightGBM's own from its own format, else the object that was saved."""
    if path.suffix.lower() in source.NATIVE:
        import lightgbm

        return lightgbm.Booster(model_file=path)
    return reading.load(path)


def _round_down(model: Any, native: Any) -> None:
    """Put each threshold that float32 rounded up to the next number below."""
    import numpy as np

    rounded_up = set()
    for feature, threshold in splits(native.dump_model()["tree_info"]):
        near = np.float32(threshold)
        if float(near) > threshold:
            rounded_up.add((feature, float(near)))
    for node in model.graph.node:
        told = {one.name: one for one in node.attribute}
        if "nodes_values" not in told:
            continue
        values, features = told["nodes_values"].floats, told["nodes_featureids"].ints
        modes = told["nodes_modes"].strings
        for place, (feature, value, mode) in enumerate(zip(features, values, modes, strict=True)):
            if mode == b"BRANCH_LEQ" and (feature, value) in rounded_up:
                values[place] = float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _widen(model: Any, native: Any) -> None:
    """Give a graph inputs of float64, and each split its threshold as LightGBM has it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    trees = native.dump_model()["tree_info"]
    for node in model.graph.node:
        told = {one.name: one for one in node.attribute}
        if "nodes_values" not in told:
            continue
        arrays = {name: list(told[name].floats) for name in double_trees.NUMBERS if name in told}
        below = zip(*(told[f"nodes_{one}"].ints for one in _LINKS), strict=True)
        sides = {(tree, place): (left, right) for tree, place, left, right in below}
        order = zip(told["nodes_treeids"].ints, told["nodes_nodeids"].ints, strict=True)
        known = _by_place(trees, sides)
        arrays["nodes_values"] = [
            known.get(one, value) for one, value in zip(order, arrays["nodes_values"], strict=True)
        ]
        for name, values in arrays.items():
            node.attribute.remove(told[name])
            if values:
                tensor = numpy_helper.from_array(np.array(values, np.float64), name)
                node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
    for one in model.graph.input:
        one.type.tensor_type.elem_type = TensorProto.DOUBLE
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", double_trees.SINCE))


def _by_place(trees: list[dict[str, Any]], sides: Sides) -> dict[tuple[int, int], float]:
    """Return (tree, node) of a graph -> threshold: LightGBM's trees and the graph's, side by side."""
    found = {}
    waiting = [(tree["tree_structure"], (number, 0)) for number, tree in enumerate(trees)]
    while waiting:
        node, (tree, place) = waiting.pop()
        if "left_child" in node:
            found[tree, place] = float(node["threshold"])
            left, right = sides[tree, place]
            waiting += [(node["left_child"], (tree, left)), (node["right_child"], (tree, right))]
    return found


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
