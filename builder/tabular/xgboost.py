"""What an XGBoost model says of itself in its own formats, which hold no code.

Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from math import nan
from typing import Any

from builder.graph import Unsuitable
from builder.tabular import describing
from builder.tabular.describing import Range

CLASSIFIERS = ("binary:logistic", "multi:softprob", "multi:softmax")
REGRESSORS = (
    "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "count:poisson",
    "reg:gamma", "reg:tweedie",
)  # fmt: skip
"""The objectives whose answers onnxmltools gives too; tests/exporting/ compares them."""

_MOST_TREES_READ = 100


def config(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model from its JSON or UBJSON.

    Raises:
        Unsuitable: no such document, or a setting that the exported graph would get wrong.
    """
    try:
        learner = model["learner"]
        shape, objective = learner["learner_model_param"], learner["objective"]["name"]
        _require_exact(learner, objective, shape)
        ranges = _ranges(learner["gradient_booster"]["model"]["trees"], int(shape["num_feature"]))
        names = learner.get("feature_names") or []
        inputs = describing.columns(names, ranges) if names else describing.features(ranges)
        classes = max(2, int(shape["num_class"]))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise Unsuitable(
            f"it is no whole XGBoost model: {error!r}",
            expected="what Booster.save_model writes",
            remedy="save or fetch it again",
        ) from error
    if objective in REGRESSORS:
        return describing.config("xgboost", inputs)
    return describing.config("xgboost", inputs, [str(one) for one in range(classes)], "INT64")


def absent(model: Any) -> float:
    """Return the number that stands for an absent one, of a model that its library has loaded.

    Only an object of XGBoost's manner of scikit-learn knows another than NaN; its own formats do not tell it.
    """
    return float(getattr(model, "missing", nan))


def _require_exact(learner: Mapping[str, Any], objective: str, shape: Mapping[str, Any]) -> None:
    """Raise Unsuitable for what onnxmltools ignores, or does not know."""
    known = (*CLASSIFIERS, *REGRESSORS)
    if objective not in known:
        raise Unsuitable(
            f"its objective is {objective}",
            expected=f"one of {', '.join(known)}",
            remedy="train it with one of these, or serve it by a Python model",
        )
    booster = learner["gradient_booster"].get("name")
    if booster != "gbtree":
        raise Unsuitable(
            f"its booster is {booster}",
            expected="gbtree",
            remedy="train it with booster=gbtree, or serve it by a Python model",
        )
    if "c" in learner.get("feature_types", []):
        raise Unsuitable(
            "it has columns of categories (enable_categorical)",
            expected="columns of numbers",
            remedy="encode the categories before training, by scikit-learn's OneHotEncoder in a pipeline",
        )
    if int(shape.get("num_target", 1)) > 1:
        raise Unsuitable(
            f"it answers with {shape['num_target']} numbers",
            expected="one",
            remedy="train one model for each of them",
        )


def _ranges(trees: Sequence[Mapping[str, Any]], count: int) -> list[Range | None]:
    """Return for each feature a range that all the thresholds of its splits lie in."""
    found: list[Range | None] = [None] * count
    for tree in islice(trees, _MOST_TREES_READ):
        splits = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
        for left, feature, threshold in splits:
            if left >= 0:
                low, high = found[feature] or (threshold, threshold)
                found[feature] = (min(low, threshold), max(high, threshold))
    # all rows between the thresholds would never meet the outer leaves
    return [one and (one[0] - 0.1 - abs(one[0]), one[1] + 0.1 + abs(one[1])) for one in found]
