"""What a fitted Python object of scikit-learn, XGBoost or LightGBM says of itself."""

from __future__ import annotations

import json
from typing import Any

from builder.graph import Unsuitable
from builder.tabular import columns, describing, lightgbm, rows, xgboost

_KINDS = {"b": "INT64", "i": "INT64", "u": "INT64", "U": "STRING", "S": "STRING"}


def config(model: Any) -> dict[str, Any]:
    """Return the config of a model that was read.

    Raises:
        Unsuitable: no fitted model, or one whose answers a graph cannot give.
    """
    library = family(model)
    if library == "sklearn":
        return _of_estimator(model)
    found = _of_trees(library, model)
    if hasattr(model, "classes_") and found["kind"] == "classifier":
        found["labels"], found["outputs"][0]["data_type"] = _labels(model.classes_)
    return found


def family(model: Any) -> str:
    """Return `xgboost` or `lightgbm` for what is theirs alone, `sklearn` for all that follows its manner."""
    library = type(model).__module__.partition(".")[0]
    if library in ("xgboost", "lightgbm"):
        return library
    if not hasattr(model, "predict") or not hasattr(model, "fit"):
        raise Unsuitable(
            f"it holds a {type(model).__module__}.{type(model).__qualname__}",
            expected="a scikit-learn estimator or pipeline, an XGBoost or a LightGBM model",
            remedy="save the fitted model itself, with the preparation of its columns in one pipeline",
        )
    return "sklearn"


def booster(model: Any) -> Any:
    """Return the native model of XGBoost or LightGBM within its scikit-learn dress."""
    try:
        if family(model) == "xgboost":
            return model.get_booster() if hasattr(model, "get_booster") else model
        return model.booster_ if hasattr(type(model), "booster_") else model
    except Exception as error:
        # each library has its own NotFittedError
        raise _unfitted(model) from error


def _of_trees(library: str, model: Any) -> dict[str, Any]:
    native = booster(model)
    if library == "lightgbm":
        return lightgbm.config(native.model_to_string().encode())
    return xgboost.config(json.loads(native.save_raw("json")))


def _of_estimator(model: Any) -> dict[str, Any]:
    from sklearn.base import is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise _unfitted(model) from error
    last = _last_step(model)
    if family(last) != "sklearn":
        # the same settings are lost inside of a pipeline
        _of_trees(family(last), last)
    if not hasattr(model, "n_features_in_"):
        raise Unsuitable(
            f"a {type(columns.first_step(model)).__name__} reads no columns",
            expected="a model of a table's columns",
            remedy="serve it by a Python model",
        )
    inputs = columns.read(model)
    if is_classifier(model):
        labels, data_type = _labels(model.classes_)
        return describing.config(
            "sklearn", inputs, labels, data_type, probabilities=hasattr(model, "predict_proba")
        )
    if is_regressor(model):
        return describing.config("sklearn", inputs, width=_width(model, inputs))
    raise Unsuitable(
        f"a {type(last).__name__} is neither a classifier nor a regressor",
        expected="a model that predicts a class or a number",
        remedy="end the pipeline with one",
    )


def _last_step(model: Any) -> Any:
    step = columns.head(model)
    while hasattr(step, "steps"):
        step = step.steps[-1][1]
    return step


def _labels(classes: Any) -> tuple[list[str], str]:
    """Return the classes as text, and Triton's data type of the answer."""
    if isinstance(classes, list):
        raise Unsuitable(
            f"it answers {len(classes)} questions at once",
            expected="one class for each row",
            remedy="fit one classifier for each of them",
        )
    values = [one.item() if hasattr(one, "item") else one for one in classes]
    kind = classes.dtype.kind
    if kind == "O" and all(isinstance(one, str) for one in values):
        kind = "U"
    if kind == "f" and all(one == int(one) for one in values):
        kind, values = "i", [int(one) for one in values]
    if kind not in _KINDS:
        raise Unsuitable(
            f"its classes are {', '.join(repr(one) for one in values[:3])}",
            expected="classes that are text or whole numbers",
            remedy="fit it again on such labels",
        )
    return [str(one) for one in values], _KINDS[kind]


def _width(model: Any, inputs: list[dict[str, Any]]) -> int:
    """Return how many numbers it answers with, by asking it once."""
    answer = model.predict(rows.table(model, rows.one(inputs)))
    return int(answer.shape[1]) if answer.ndim > 1 else 1


def _unfitted(model: Any) -> Unsuitable:
    return Unsuitable(
        f"a {type(model).__name__} that was never fitted",
        expected="a fitted model",
        remedy="fit it, then save it",
    )
