"""The columns of a fitted scikit-learn estimator, and of what type each is.

scikit-learn remembers the names of columns, not their types. They show in what was fitted first on each:
an encoder knows its categories; whatever else reads a column reads it as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from builder.graph import Unsuitable
from builder.tabular import describing, precision
from builder.tabular.describing import Range
from builder.tabular.precision import Reading

MOST_CATEGORIES = 100
_FILLERS = ("SimpleImputer", "MissingIndicator")


def read(estimator: Any) -> list[dict[str, Any]]:
    """Return the inputs of an estimator: one for each column with a name, or with text; else `features`.

    Columns that nothing reads are left out.
    """
    count = int(estimator.n_features_in_)
    names = getattr(estimator, "feature_names_in_", None)
    found: dict[int, dict[str, Any]] = {}
    whole = head(estimator)
    _visit(whole, list(range(count)), found, precision.reading(whole))
    kinds = {one["data_type"] for one in found.values()}
    if names is None and kinds <= {"FP32", "FP64"}:
        data_type = "FP64" if "FP64" in kinds else "FP32"
        return describing.features([_range(found.get(place)) for place in range(count)], data_type)
    return [
        {**found[place], "name": f"column_{place}" if names is None else str(names[place])}
        for place in sorted(found)
    ]


def used(estimator: Any) -> list[int]:
    """Return the places of the columns that the first step reads, as `read` lists them."""
    found: dict[int, dict[str, Any]] = {}
    whole = head(estimator)
    _visit(whole, list(range(int(estimator.n_features_in_))), found, precision.reading(whole))
    return sorted(found)


def head(estimator: Any) -> Any:
    """Return what sees the columns first: the estimator, or the pipeline that a search found best."""
    return getattr(estimator, "best_estimator_", estimator)


def first_step(estimator: Any) -> Any:
    """Return the first step of a pipeline, however deep; any other estimator is its own."""
    step = head(estimator)
    while hasattr(step, "steps"):
        step = step.steps[0][1]
    return step


def splits_columns(step: Any) -> bool:
    """Say whether a step is a fitted ColumnTransformer."""
    return hasattr(step, "_transformer_to_input_indices")


def _visit(step: Any, places: Sequence[int], found: dict[int, dict[str, Any]], reading: Reading) -> None:
    if isinstance(step, str):
        if step != "drop":
            _note(found, places, reading, step)
    elif hasattr(step, "steps"):
        for place, (_, inner) in enumerate(step.steps):
            _visit(inner, places, found, reading.before(step.steps[place + 1 :]))
            if type(inner).__name__ not in _FILLERS and not isinstance(inner, str):
                break
    elif splits_columns(step):
        for name, inner, _ in step.transformers_:
            read = [places[one] for one in step._transformer_to_input_indices[name]]
            _visit(inner, read, found, reading)
    elif hasattr(step, "transformer_list"):
        for _, inner in step.transformer_list:
            _visit(inner, places, found, reading)
    elif hasattr(step, "vocabulary_"):
        raise Unsuitable(
            f"a {type(step).__name__} splits text into words",
            expected="columns of categories or numbers",
            remedy="serve it by a Python model: ONNX splits some texts otherwise, above all with accents",
        )
    elif hasattr(step, "categories_"):
        for place, categories in zip(places, step.categories_, strict=True):
            _note_categories(found, place, list(categories))
    else:
        _note(found, places, reading, step, ranges(step, len(places)))


def _note_categories(found: dict[int, dict[str, Any]], place: int, categories: list[Any]) -> None:
    plain = [one.item() if hasattr(one, "item") else one for one in categories]
    # nan is not itself
    if any(one is None or one != one for one in plain):
        raise Unsuitable(
            f"column {place} has an absent value, None or NaN, among its categories",
            expected="text or numbers: a request's text is never absent, and a graph's encoder knows no NaN",
            remedy="name it before the model is fitted, table[NAME].fillna('absent'), and in requests",
        )
    kinds = {type(one) for one in plain}
    if not kinds <= {str} and not kinds <= {int, float, bool}:
        raise Unsuitable(
            f"column {place} holds {', '.join(sorted(kind.__name__ for kind in kinds))}",
            expected="categories that are all text, or all numbers",
            remedy="turn the column into text before the model is fitted: table[NAME].astype(str)",
        )
    data_type = "STRING" if kinds == {str} else "INT64" if kinds == {int} else precision.of_categories(plain)
    found[place] = describing.column("", data_type, None, plain[:MOST_CATEGORIES])


def _note(
    found: dict[int, dict[str, Any]],
    places: Sequence[int],
    reading: Reading,
    step: Any,
    between: Sequence[Range | None] | None = None,
) -> None:
    for place, one in zip(places, between or [None] * len(places), strict=True):
        data_type = reading.data_type(step, one)
        # an encoder knows more of a column than whoever reads it beside
        if place not in found or ("categories" not in found[place] and "ranges" not in found[place]):
            exact = found.get(place, {}).get("data_type") == "FP64"
            found[place] = describing.column("", "FP64" if exact else data_type, one)
        elif found[place]["data_type"] == "FP32":
            found[place]["data_type"] = data_type


def _range(entry: dict[str, Any] | None) -> Range | None:
    if not entry or "ranges" not in entry:
        return None
    low, high = entry["ranges"][0]
    return (low, high)


def ranges(step: Any, count: int) -> list[Range | None]:
    """Return what most values of each column lay between in training, where the step remembers it."""
    if hasattr(step, "data_min_"):
        pairs = zip(step.data_min_, step.data_max_, strict=True)
        return [(float(low), float(high)) for low, high in pairs]
    centres: Any = getattr(step, "mean_", getattr(step, "center_", None))
    spreads: Any = getattr(step, "scale_", None)
    if not all(getattr(one, "shape", None) == (count,) for one in (centres, spreads)):
        return _thresholds(step, count)
    return [
        (float(centre - 2 * spread), float(centre + 2 * spread))
        for centre, spread in zip(centres, spreads, strict=True)
    ]


def _thresholds(step: Any, count: int) -> list[Range | None]:
    trees = [step] if hasattr(step, "tree_") else list(getattr(step, "estimators_", []))
    found: list[Range | None] = [None] * count
    histograms = [one.nodes for group in getattr(step, "_predictors", []) for one in group]
    splits = [
        (one["feature_idx"], one["num_threshold"])
        for nodes in histograms
        for one in nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
    ]
    for one in getattr(trees, "flat", trees):
        if hasattr(one, "tree_") and one.tree_.n_features == count:
            splits += zip(one.tree_.feature, one.tree_.threshold, strict=True)
    for feature, threshold in splits:
        # a split between all values and an absent one has an infinite threshold
        if feature >= 0 and isfinite(threshold):
            low, high = found[feature] or (threshold, threshold)
            found[feature] = (float(min(low, threshold)), float(max(high, threshold)))
    return found
