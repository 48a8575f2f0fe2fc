"""Which columns of numbers a request has to hold in float64: where float32 could change an answer.

Trees of scikit-learn and XGBoost round what they read to float32 themselves. What is computed from a column
before that is not rounded, so the rounding of the column could carry it over a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from builder.tabular.describing import Range

_PASSING = frozenset((
    "FunctionTransformer", "GenericUnivariateSelect", "MissingIndicator", "RFE", "RFECV", "SelectFdr",
    "SelectFpr", "SelectFromModel", "SelectFwe", "SelectKBest", "SelectPercentile", "SimpleImputer",
    "VarianceThreshold",
))  # fmt: skip
"""The steps that hand a column on as it is."""
_GROUPING = frozenset(("Birch", "KMeans", "MiniBatchKMeans"))
"""What predicts, but as a step before others answers with distances."""
_COMPARING = frozenset((
    "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
    "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier", "GradientBoostingRegressor",
    "HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "LGBMClassifier", "LGBMRegressor",
    "RandomForestClassifier", "RandomForestRegressor", "XGBClassifier", "XGBRegressor",
))  # fmt: skip
"""The trees that compare in a graph as they do in their own library."""
_JUMPING = frozenset(("Binarizer", "KBinsDiscretizer"))
_MOST_FOR_ITS_SPREAD = 100.0
"""A column this many times as large as its values lie apart has lost seven bits: its spread has 17 left."""
_DEEPEST = 8


@dataclass(frozen=True)
class Reading:
    """How a model reads columns: whether its answers jump, and whether it computes with all columns."""

    jumps: bool
    bins: bool
    """Whether it has thresholds that may be the very values it learned, in float64."""
    computes: bool = False

    def before(self, steps: Sequence[tuple[str, Any]]) -> Reading:
        """Return how columns are read by what comes before these steps of a pipeline."""
        return replace(self, computes=self.computes or any(_computes(one) for _, one in steps))

    def data_type(self, step: Any, between: Range | None) -> str:
        """Return Triton's data type of a column of numbers that `step` is the first to read."""
        name = type(step).__name__
        computed = self.computes or _computes(step)
        jumps = name in _JUMPING or self.bins or (self.jumps and computed)
        exact = jumps or (computed and is_far(between))
        return "FP64" if exact else "FP32"


def reading(model: Any) -> Reading:
    """Return how a model reads its columns."""
    trees = list(_trees(model, _DEEPEST))
    return Reading(bool(trees), any(hasattr(one, "_predictors") for one in trees))


def compares(model: Any) -> bool:
    """Say whether a model ends with trees, whose thresholds a graph has to the last bit."""
    step = getattr(model, "best_estimator_", model)
    while hasattr(step, "steps"):
        step = step.steps[-1][1]
    return type(step).__name__ in _COMPARING


def of_categories(values: list[Any]) -> str:
    """Return the data type of a column of categories that are numbers, not all of them whole ones."""
    import numpy as np

    return "FP32" if all(float(np.float32(one)) == one for one in values) else "FP64"


def _computes(step: Any) -> bool:
    """Say whether a step changes numbers before anything compares them."""
    if isinstance(step, str) or step is None:
        return False
    if hasattr(step, "predict"):
        # others may have learned to transform too, and hold steps of their own
        return type(step).__name__ in _GROUPING or _holds_steps(step, _DEEPEST)
    return hasattr(step, "transform") and type(step).__name__ not in _PASSING


def _holds_steps(model: Any, depth: int) -> bool:
    if any(_computes(one) for _, one in getattr(model, "steps", [])):
        return True
    return depth > 0 and any(_holds_steps(one, depth - 1) for one in _within(model))


def is_far(between: Range | None) -> bool:
    """Say whether a column lies so far from zero that float32 hardly tells its values apart."""
    if between is None or between[0] >= between[1]:
        return False
    return max(abs(one) for one in between) > _MOST_FOR_ITS_SPREAD * (between[1] - between[0])


def _trees(model: Any, depth: int) -> Iterator[Any]:
    """Yield the trees in a model, however deep."""
    library = type(model).__module__.partition(".")[0]
    if library in ("xgboost", "lightgbm") or hasattr(model, "tree_") or hasattr(model, "_predictors"):
        yield model
    elif depth > 0:
        for one in _within(model):
            yield from _trees(one, depth - 1)


def _within(model: Any) -> Iterator[Any]:
    """Yield the estimators that one holds."""
    waiting = list(vars(model).values()) if hasattr(model, "__dict__") else []
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        elif hasattr(one, "flat") and getattr(getattr(one, "dtype", None), "kind", "") == "O":
            waiting += list(one.flat)
        elif hasattr(one, "get_params") and not isinstance(one, type):
            yield one
