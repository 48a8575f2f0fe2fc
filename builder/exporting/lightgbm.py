"""Trees of LightGBM as one ONNX graph; run as `python -m builder.exporting.lightgbm REQUEST.json`.

LightGBM compares in float64, the graph in float32. A number that a request can hold, a float32, lies on the
same side of a threshold in both when the threshold is rounded down, so that is done to each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from builder import trust
from builder.exporting import graph_file, tables
from builder.sources import tabular as source
from builder.tabular import reading, sklearn
from builder.tabular.lightgbm import splits

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
        config, native = source.read(str(path), None).config, sklearn.booster(load(path))
    types = [("columns", FloatTensorType([None, native.num_feature()]))]
    graph = onnxmltools.convert_lightgbm(native, initial_types=types, zipmap=False, target_opset=TARGET_OPSET)
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


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
