"""Absent values (NaN) in scikit-learn's trees: each split sends them to the side that training chose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def learn() -> None:
    """Teach skl2onnx that side; its own converters send every absent value to the right.

    Once, for others build upon what is registered here.
    """
    from skl2onnx.common import _registration as known
    from skl2onnx.operator_converters import decision_tree, random_forest

    tree = {
        "Classifier": decision_tree.convert_sklearn_decision_tree_classifier,
        "Regressor": decision_tree.convert_sklearn_decision_tree_regressor,
    }
    forest = {
        "Classifier": random_forest.convert_sklearn_random_forest_classifier,
        "Regressor": random_forest.convert_sklearn_random_forest_regressor_converter,
    }
    kinds = {"DecisionTree": tree, "ExtraTree": tree, "RandomForest": forest, "ExtraTrees": forest}
    for kind, converters in kinds.items():
        for answer, convert in converters.items():
            name = f"Sklearn{kind}{answer}"
            options = known.get_converter(name).get_allowed_options()
            known.register_converter(name, _with_gaps(convert), overwrite=True, options=options)


def _with_gaps(convert: Callable[..., None]) -> Callable[[Any, Any, Any], None]:
    def wrapped(scope: Any, operator: Any, container: Any) -> None:
        before = len(container.nodes)
        convert(scope, operator, container)
        model = operator.raw_operator
        trees = [one.tree_ for one in getattr(model, "estimators_", [model])]
        for node in container.nodes[before:]:
            told = {one.name: one for one in node.attribute}
            if "nodes_missing_value_tracks_true" not in told:
                continue
            places = zip(told["nodes_treeids"].ints, told["nodes_nodeids"].ints, strict=True)
            sides = [int(trees[tree].missing_go_to_left[place]) for tree, place in places]
            told["nodes_missing_value_tracks_true"].ints[:] = sides

    return wrapped
