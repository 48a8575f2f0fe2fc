"""Trees of XGBoost as one ONNX graph; run as `python -m builder.exporting.xgboost REQUEST.json`.

Both compute in float32, an absent value takes the branch that training chose for it: NaN, and the number
that the object was told stands for one.
"""

from __future__ import annotations

import json
import sys
from math import isnan
from pathlib import Path
from typing import Any

from builder import trust
from builder.exporting import graph_file, tables
from builder.sources import tabular as source
from builder.tabular import reading, sklearn
from builder.tabular.xgboost import absent

# the newest that onnxmltools writes for trees
TARGET_OPSET = 15


def export(path: Path, folder: Path) -> None:
    """Write the trees as `model.onnx`, its inputs and outputs as the plan said.

    Raises:
        SourceError: the file cannot be read, or holds no model that a graph can give the answers of.
    """
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    with trust.granted():
        config, model = source.read(str(path), None).config, load(path)
    native = _plain(model)
    types = [("columns", FloatTensorType([None, native.num_features()]))]
    graph = onnxmltools.convert_xgboost(native, initial_types=types, target_opset=TARGET_OPSET)
    if not isnan(absent(model)):
        _take_for_absent(graph.graph, absent(model))
    graph_file.write(tables.finish(graph, config, merged=True), folder)


def load(path: Path) -> Any:
    """Return the model: XGBoost's own from its own formats, else the object that was saved."""
    if path.suffix.lower() in source.NATIVE:
        import xgboost

        return xgboost.Booster(model_file=path)
    return reading.load(path)


def trees_used(model: Any) -> Any:
    """Return the native model with the trees that the object answers with: those up to its best round."""
    native = sklearn.booster(model)
    if native is not model and native.attr("best_iteration") is not None:
        return native[: int(native.attr("best_iteration")) + 1]
    return native


def _plain(model: Any) -> Any:
    """Return a copy that onnxmltools converts whole.

    It takes the columns' names for numbers, so they go. Of multi:softmax, which tells the best class alone,
    it would give sums for probabilities: the same trees as multi:softprob tell these.
    """
    native = trees_used(model).copy()
    native.feature_names = native.feature_types = None
    if json.loads(native.save_config())["learner"]["objective"]["name"] == "multi:softmax":
        native.set_param({"objective": "multi:softprob"})
    return native


def _take_for_absent(graph: Any, number: float) -> None:
    """Make NaN of the number, which in training stood for an absent one."""
    import numpy as np
    from onnx import helper, numpy_helper

    whole, gaps, found = graph.input[0].name, "number is absent", "columns with gaps"
    for node in graph.node:
        node.input[:] = [found if name == whole else name for name in node.input]
    for name, value in (("absent", number), ("gap", np.nan)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    graph.node.insert(0, helper.make_node("Equal", [whole, "absent"], [gaps], name=gaps))
    graph.node.insert(1, helper.make_node("Where", [gaps, "gap", whole], [found], name=found))


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
