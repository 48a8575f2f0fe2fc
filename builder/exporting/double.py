"""What skl2onnx has to learn for graphs in float64, which is what scikit-learn computes its steps in.

Trees round the columns they read to float32, in scikit-learn as here. A scaler before them does not: a value
scaled in float32 may lie on the other side of a threshold. So steps run in float64, and what ONNX Runtime
has no such kernel for, or what rounds by itself, reads and answers float32 within the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from builder.exporting import double_trees
from builder.exporting.double_trees import Exact, Thresholds

Convert = Callable[[Any, Any, Any], None]

_EXACT = frozenset((
    "Binarizer", "CastTransformer", "FunctionTransformer", "GenericUnivariateSelect", "IncrementalPCA",
    "LinearRegressor", "MaxAbsScaler", "MinMaxScaler", "OneHotEncoder", "OrdinalEncoder", "PCA",
    "PolynomialFeatures", "QuantileTransformer", "RFE", "RFECV", "RobustScaler", "Scaler", "SelectFdr",
    "SelectFpr", "SelectFwe", "SelectKBest", "SelectPercentile", "SimpleImputer", "TruncatedSVD",
    "VarianceThreshold",
))  # fmt: skip
"""The operators of skl2onnx, less their `Sklearn`, that tests/exporting/ has seen run in float64."""

_AROUND = frozenset((
    "AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor",
    "CalibratedClassifierCV", "ColumnTransformer", "FeatureUnion", "GridSearchCV", "MultiOutputClassifier",
    "MultiOutputRegressor", "OneVsOneClassifier", "OneVsRestClassifier", "Pipeline", "StackingClassifier",
    "StackingRegressor", "TunedThresholdClassifierCV", "VotingClassifier", "VotingRegressor",
))  # fmt: skip
"""What holds other estimators, and leaves the numbers to them."""


def narrow(convert: Convert, thresholds: Thresholds | None = None) -> Convert:
    """Return a converter that reads float64 as float32, and hands its answers on as float64.

    With `thresholds`, those of the model's trees in float64, these compare what was not rounded.
    """
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    def converter(scope: Any, operator: Any, container: Any) -> None:
        if not any(isinstance(one.type, DoubleTensorType) for one in operator.inputs):
            model, source = operator.raw_operator, getattr(operator, "unrounded", None)
            if source is not None and thresholds is not None:
                container = Exact(container, source, functools.partial(thresholds, model))
            convert(scope, operator, container)
            return
        inner = scope.declare_local_operator(operator.type, operator.raw_operator)
        if len(operator.inputs) == 1:
            inner.unrounded = operator.inputs[0].full_name
        for one in operator.inputs:
            kind = FloatTensorType if isinstance(one.type, DoubleTensorType) else type(one.type)
            rounded = scope.declare_local_variable("rounded", kind(list(one.type.shape)))
            _cast(scope, container, one, rounded)
            inner.inputs.append(rounded)
        for one in operator.outputs:
            kind = FloatTensorType if isinstance(one.type, DoubleTensorType) else type(one.type)
            found = scope.declare_local_variable("found", kind(list(one.type.shape)))
            inner.outputs.append(found)
            _cast(scope, container, found, one)

    return converter


def helps(model: Any) -> bool:
    """Say whether anything of a model computes in float64: steps, thresholds, or a sum of products."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    short = str(sklearn_operator_name_map.get(type(model), "")).removeprefix("Sklearn")
    return short in _AROUND or short in _EXACT or _OWN.get(short) is _histograms


@functools.cache
def learn() -> None:
    """Register what follows, and each operator that has no kernel in float64 as one of float32."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common import _registration as known

    for name in sorted(set(sklearn_operator_name_map.values())):
        short = name.removeprefix("Sklearn")
        if not name.startswith("Sklearn") or short in _AROUND | _EXACT - set(_OWN):
            continue
        before = known.get_converter(name)
        made = _OWN.get(short, narrow)(before)
        known.register_converter(name, made, overwrite=True, options=before.get_allowed_options())


def _filled(convert: Convert) -> Convert:
    """Return a converter of imputers: ONNX Runtime's own fills in float32 alone."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        import numpy as np
        from skl2onnx.common.data_types import DoubleTensorType
        from skl2onnx.operator_converters.common import concatenate_variables

        imputer = operator.raw_operator
        statistics = np.asarray(imputer.statistics_)
        plain = statistics.dtype.kind in "iuf" and not np.isnan(statistics.astype(np.float64)).any()
        if (
            not isinstance(operator.inputs[0].type, DoubleTensorType)
            or not plain
            or imputer.add_indicator
            or not isinstance(imputer.missing_values, (int, float))
        ):
            convert(scope, operator, container)
            return
        columns = concatenate_variables(scope, operator.inputs, container)
        absent, fill = scope.get_unique_variable_name("absent"), _constant(scope, container, statistics)
        if np.isnan(imputer.missing_values):
            container.add_node("IsNaN", columns, absent, name=scope.get_unique_operator_name("IsNaN"))
        else:
            mark = _constant(scope, container, np.array([imputer.missing_values]))
            container.add_node("Equal", [columns, mark], absent, name=scope.get_unique_operator_name("Equal"))
        container.add_node(
            "Where",
            [absent, fill, columns],
            operator.outputs[0].full_name,
            name=scope.get_unique_operator_name("Where"),
        )

    return converter


def _multiplied(convert: Convert) -> Convert:
    """Return a converter of polynomial features: each is a product of as many columns as its degree."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        import numpy as np
        from skl2onnx.common.data_types import DoubleTensorType

        if not isinstance(operator.inputs[0].type, DoubleTensorType):
            convert(scope, operator, container)
            return
        powers = np.asarray(operator.raw_operator.powers_)
        degree, width = int(powers.sum(axis=1).max(initial=1)), powers.shape[1]
        # a factor of 1, a column beside the others, where a product has fewer
        factors = [np.repeat(np.arange(width), one).tolist() for one in powers]
        filled = np.array([one + [width] * (degree - len(one)) for one in factors], np.int64)
        columns = operator.inputs[0].full_name
        ones = _node(scope, container, "Pad", [columns, *_one_column(scope, container)], mode="constant")
        product = ""
        for place in range(max(degree, 1)):
            index = scope.get_unique_variable_name("places")
            container.add_initializer(index, _element("INT64"), [len(filled)], filled[:, place].tolist())
            factor = _node(scope, container, "Gather", [ones, index], axis=1)
            product = _node(scope, container, "Mul", [product, factor]) if product else factor
        container.add_node(
            "Identity",
            product,
            operator.outputs[0].full_name,
            name=scope.get_unique_operator_name("Identity"),
        )

    return converter


def _one_column(scope: Any, container: Any) -> list[str]:
    pads, value = scope.get_unique_variable_name("pads"), scope.get_unique_variable_name("one")
    container.add_initializer(pads, _element("INT64"), [4], [0, 0, 0, 1])
    container.add_initializer(value, _element("DOUBLE"), [], [1.0])
    return [pads, value]


def _logistic(convert: Convert) -> Convert:
    """Return a converter of linear classifiers: of float64 skl2onnx writes those with probabilities."""
    rounded = narrow(convert)

    def converter(scope: Any, operator: Any, container: Any) -> None:
        exact = type(operator.raw_operator).__name__.startswith("LogisticRegression")
        (convert if exact else rounded)(scope, operator, container)

    return converter


def _histograms(convert: Convert) -> Convert:
    return narrow(convert, double_trees.of_histograms)


_OWN: dict[str, Callable[[Convert], Convert]] = {
    "HistGradientBoostingClassifier": _histograms,
    "HistGradientBoostingRegressor": _histograms,
    "LinearClassifier": _logistic,
    "PolynomialFeatures": _multiplied,
    "SimpleImputer": _filled,
}


def _node(scope: Any, container: Any, kind: str, inputs: list[str], **attributes: Any) -> str:
    found = str(scope.get_unique_variable_name(kind.lower()))
    name = scope.get_unique_operator_name(kind)
    container.add_node(kind, inputs, found, name=name, **attributes)
    return found


def _constant(scope: Any, container: Any, values: Any) -> str:
    name = str(scope.get_unique_variable_name("values"))
    container.add_initializer(name, _element("DOUBLE"), list(values.shape), values.astype(float).tolist())
    return name


def _cast(scope: Any, container: Any, one: Any, other: Any) -> None:
    from skl2onnx.common._apply_operation import apply_cast, apply_identity

    if type(one.type) is type(other.type):
        apply_identity(scope, one.full_name, other.full_name, container)
    else:
        element = other.type.to_onnx_type().tensor_type.elem_type
        apply_cast(scope, one.full_name, other.full_name, container, to=element)


def _element(name: str) -> int:
    from onnx import TensorProto

    return int(TensorProto.DataType.Value(name))
