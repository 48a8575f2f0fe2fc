"""Trees that compare in float64, those of LightGBM and HistGradientBoosting: thresholds that lose nothing.

Their converters know the type of a graph's inputs, and round thresholds to float32. The node itself has
attributes for float64, and answers in float32 all the same.
https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SINCE = 3
NUMBERS = ("nodes_values", "nodes_hitrates", "class_weights", "target_weights", "base_values")

Thresholds = Callable[[Any, Mapping[str, Any]], list[float]]


class Exact:
    """A converter's container, in which each ensemble of trees reads `source` and compares in float64."""

    def __init__(self, container: Any, source: str, thresholds: Callable[[Mapping[str, Any]], list[float]]):
        self._container = container
        self._source = source
        self._thresholds = thresholds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, *rest: Any, **attributes: Any) -> None:
        """Add a node as the container does; of trees with exact thresholds."""
        if not op_type.startswith("TreeEnsemble"):
            self._container.add_node(op_type, inputs, outputs, *rest, **attributes)
            return
        import numpy as np
        from onnx import numpy_helper

        attributes["nodes_values"] = self._thresholds(attributes)
        for name in NUMBERS:
            values = attributes.pop(name, None)
            if values is not None and len(values):
                exact = np.asarray(values, np.float64).ravel()
                attributes[f"{name}_as_tensor"] = numpy_helper.from_array(exact, name)
        attributes["op_version"] = SINCE
        self._container.add_node(op_type, [self._source], outputs, *rest, **attributes)


def as_given(_: Any, attributes: Mapping[str, Any]) -> list[float]:
    """Return thresholds as onnxmltools has them of LightGBM before they are written."""
    return [float(one) for one in attributes["nodes_values"]]


def of_histograms(model: Any, attributes: Mapping[str, Any]) -> list[float]:
    """Return the thresholds of a HistGradientBoosting model, in the order of the attributes."""
    trees = [one for iteration in model._predictors for one in iteration]
    places = zip(
        attributes["nodes_treeids"],
        attributes["nodes_nodeids"],
        attributes["nodes_modes"],
        attributes["nodes_values"],
        strict=True,
    )
    return [
        float(trees[tree].nodes[node]["num_threshold"]) if mode == "BRANCH_LEQ" else float(value)
        for tree, node, mode, value in places
    ]
