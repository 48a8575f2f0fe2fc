"""A scikit-learn estimator as one ONNX graph; run as `python -m builder.exporting.sklearn REQUEST.json`.

Steps before the estimator compute in float64, as in scikit-learn, and trees then round to float32, as there.
Other estimators may compute in float32: probabilities agree to about 1e-6, and a row that lies on the very
boundary of two classes may fall to either side.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import trust
from builder.errors import ConversionError
from builder.exporting import double, double_trees, gaps, graph_file, tables
from builder.sources import tabular as source
from builder.tabular import columns, reading

# the domain of trees and encoders, as ONNX Runtime has known it since 1.9
ML_OPSET = 3
_CLASSES = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
"""What a converter of classifiers may be asked for."""


def export(path: Path, folder: Path) -> None:
    """Write the estimator as `model.onnx`, its inputs and outputs as the plan said.

    Raises:
        SourceError: the file cannot be read, or holds no model that a graph can give the answers of.
        ConversionError: skl2onnx has no counterpart of a step.
    """
    with trust.granted():
        config, model = source.read(str(path), None).config, reading.load(path)
    split = columns.splits_columns(columns.first_step(model))
    merged = not split or config["inputs"][0]["name"] == "features"
    graph = _exact(model, config, merged) or _finished(model, config, merged, exact=False)
    graph_file.write(graph, folder)


def _exact(model: Any, config: Mapping[str, Any], merged: bool) -> Any:
    """Return a graph of float64, or None where that serves nothing or does not run."""
    import onnxruntime

    if not double.helps(columns.head(model)):
        return None
    try:
        graph = _finished(model, config, merged, exact=True)
        onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        # converters and kernels raise whatever they meet; of float32 there are more, and the proof judges
        return None
    return graph


def _finished(model: Any, config: Mapping[str, Any], merged: bool, *, exact: bool) -> Any:
    return tables.finish(convert(columns.head(model), config, merged, exact=exact), config, merged=merged)


def convert(model: Any, config: Mapping[str, Any], merged: bool, *, exact: bool) -> Any:
    """Return skl2onnx's graph: one input for each column, or one for all when `merged`.

    Numbers are float64 when `exact`, else float32.
    """
    import skl2onnx

    _learn_trees()
    _learn_decisions()
    gaps.learn()
    inputs = config["inputs"]
    if exact:
        double.learn()
    # numbers are rounded or widened to what the graph computes in
    kinds = sorted({"FP32" if one["data_type"] == "FP64" else one["data_type"] for one in inputs})
    if merged and len(kinds) > 1:
        raise ConversionError(
            f"{type(columns.first_step(model)).__name__} reads columns of {', '.join(kinds)}",
            expected="columns of one type",
            remedy="give each type a step of its own in a ColumnTransformer",
        )
    prepared = model if merged else _by_place(model)
    types = [("columns", _type(kinds[0], model.n_features_in_, exact))] if merged else _types(inputs, exact)
    try:
        return skl2onnx.convert_sklearn(
            prepared, initial_types=types, target_opset={"": graph_file.OPSET, "ai.onnx.ml": ML_OPSET}
        )
    except Exception as error:
        # its converters raise whatever they meet
        raise ConversionError(
            f"skl2onnx cannot convert this {type(model).__name__}: {type(error).__name__}: {error}",
            expected="steps and options that skl2onnx has (https://onnx.ai/sklearn-onnx/supported.html)",
            remedy="replace the step that the message names, or serve it by a Python model",
        ) from error


def _learn_trees() -> None:
    """Teach skl2onnx the estimators of other libraries, of those that the model itself has imported."""
    import skl2onnx
    from skl2onnx.common import shape_calculator

    classes = shape_calculator.calculate_linear_classifier_output_shapes
    numbers = shape_calculator.calculate_linear_regressor_output_shapes
    if "xgboost" in sys.modules:
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        for kind, shape in ((xgboost.XGBClassifier, classes), (xgboost.XGBRegressor, numbers)):
            more = _CLASSES if shape is classes else None
            skl2onnx.update_registered_converter(
                kind, f"XGBoost{kind.__name__}", shape, double.narrow(convert_xgboost), options=more
            )
    if "lightgbm" in sys.modules:
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        exact = double.narrow(convert_lightgbm, double_trees.as_given)
        for kind, shape in ((lightgbm.LGBMClassifier, classes), (lightgbm.LGBMRegressor, numbers)):
            more = _CLASSES if shape is classes else {"split": None}
            skl2onnx.update_registered_converter(
                kind,
                f"LightGbm{kind.__name__}",
                shape,
                exact,
                options=more,
            )


def _learn_decisions() -> None:
    """Teach skl2onnx that an SGDClassifier of several classes decides by its scores.

    Its own converter takes the class of the highest probability; that of far scores is 1 for several.
    """
    import skl2onnx
    from skl2onnx.common import shape_calculator
    from skl2onnx.operator_converters.sgd_classifier import convert_sklearn_sgd_classifier
    from sklearn.linear_model import SGDClassifier

    def convert(scope: Any, operator: Any, container: Any) -> None:
        before = len(container.nodes)
        convert_sklearn_sgd_classifier(scope, operator, container)
        nodes = container.nodes[before:]
        scores = next(one.output[0] for one in nodes if one.op_type == "Add")
        if len(operator.raw_operator.classes_) > 2:
            # of two classes the score is one number, and its probability rises with it
            next(one for one in nodes if one.op_type == "ArgMax").input[0] = scores

    skl2onnx.update_registered_converter(
        SGDClassifier,
        "SklearnSGDClassifier",
        shape_calculator.calculate_linear_classifier_output_shapes,
        double.narrow(convert),
        options={**_CLASSES, "output_class_labels": [False, True], "raw_scores": [True, False]},
    )


def _types(inputs: list[dict[str, Any]], exact: bool) -> list[tuple[str, Any]]:
    # names of our own: skl2onnx writes names with other signs than letters differently
    return [(f"column_{place}", _type(one["data_type"], 1, exact)) for place, one in enumerate(inputs)]


def _type(data_type: str, width: int, exact: bool) -> Any:
    from skl2onnx.common import data_types

    numbers = data_types.DoubleTensorType if exact else data_types.FloatTensorType
    kinds = {"INT64": data_types.Int64TensorType, "STRING": data_types.StringTensorType}
    return kinds.get(data_type, numbers)([None, width])


def _by_place(model: Any) -> Any:
    """Return a copy whose first ColumnTransformer finds its columns by their place among the inputs.

    Steps that fill in absent text are left out: a request's text is never absent.
    """
    prepared = copy.deepcopy(model)
    place_of = {column: place for place, column in enumerate(columns.used(prepared))}
    kinds = [one["data_type"] for one in columns.read(prepared)]
    step = columns.first_step(prepared)
    found = []
    for name, inner, _ in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        places = [place_of[one] for one in step._transformer_to_input_indices[name]]
        if any(kinds[place] == "STRING" for place in places):
            inner = _without_fillers(inner)
        found.append((name, inner, places))
    step.transformers_ = found
    return prepared


def _without_fillers(step: Any) -> Any:
    if not hasattr(step, "steps"):
        return step
    kept = [
        (name, inner)
        for name, inner in step.steps
        if type(inner).__name__ != "SimpleImputer" or inner.add_indicator or not _fills_gaps(inner)
    ]
    return type(step)(kept) if kept else "passthrough"


def _fills_gaps(imputer: Any) -> bool:
    """Say whether it replaces what is absent, and not a text that stands for it: that a request can hold."""
    return not isinstance(imputer.missing_values, str)


def main(request: Path) -> None:
    """Read {source, out}; write the graph. All else of the request has no meaning for it."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    export(Path(asked["source"]), Path(asked["out"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
