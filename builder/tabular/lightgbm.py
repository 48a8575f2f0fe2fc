"""What a LightGBM model says of itself in its own text format, which holds no code.

Format: https://github.com/lightgbm-org/LightGBM/blob/main/src/boosting/gbdt_model_text.cpp
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.graph import Unsuitable
from builder.tabular import describing, precision
from builder.tabular.describing import Range

MAGIC = b"tree\n"
CLASSIFIERS = ("binary", "multiclass")
REGRESSORS = (
    "regression", "regression_l1", "huber", "poisson", "quantile", "gamma", "tweedie", "lambdarank",
)  # fmt: skip
"""The objectives whose answers onnxmltools gives too; tests/exporting/ compares them."""

_USUAL_NAME = "Column_"
_TYPES = b"decision_type="


def config(text: bytes) -> dict[str, Any]:
    """Return the config of a model from its text.

    Raises:
        Unsuitable: no such text, or a setting that the exported graph would get wrong.
    """
    header = _header(text)
    objective, *settings = header.get("objective", "").split()
    _require_exact(text, header, objective, settings)
    ranges, categories = _values(header.get("feature_infos", ""))
    names = header["feature_names"].split()
    if len(names) != len(ranges):
        raise _damaged(f"{len(names)} feature_names and {len(ranges)} feature_infos")
    # its thresholds are float64; what stands for several categories has no room for that
    far = not any(categories) and any(precision.is_far(one) for one in ranges)
    data_type = "FP64" if far else "FP32"
    if all(name.startswith(_USUAL_NAME) for name in names):
        inputs = describing.features(
            [one or _around(some) for one, some in zip(ranges, categories, strict=True)], data_type
        )
    else:
        inputs = [
            describing.column(name, data_type, one, some)
            for name, one, some in zip(names, ranges, categories, strict=True)
        ]
    if objective in REGRESSORS:
        return describing.config("lightgbm", inputs)
    classes = max(2, int(header["num_class"]))
    return describing.config("lightgbm", inputs, [str(one) for one in range(classes)], "INT64")


def splits(trees: list[dict[str, Any]]) -> Iterator[tuple[int, float]]:
    """Yield (feature, threshold) of every split that compares numbers."""
    waiting = [tree["tree_structure"] for tree in trees]
    while waiting:
        node = waiting.pop()
        if "left_child" in node:
            waiting += [node["left_child"], node["right_child"]]
            if node["decision_type"] == "<=":
                yield int(node["split_feature"]), float(node["threshold"])


def _header(text: bytes) -> dict[str, str]:
    """Return the lines before the first tree."""
    if not text.startswith(MAGIC):
        raise _damaged("its first line is not `tree`")
    lines = text[: text.find(b"\n\n")].decode("utf-8", "replace").splitlines()
    header = dict(line.partition("=")[::2] for line in lines)
    missing = [name for name in ("num_class", "feature_names", "tree_sizes") if not header.get(name)]
    if missing:
        raise _damaged(f"it lacks {', '.join(missing)}")
    if b"\nend of trees" not in text:
        raise _damaged("it breaks off before the end of its trees")
    return header


def _require_exact(text: bytes, header: dict[str, str], objective: str, settings: list[str]) -> None:
    """Raise Unsuitable for what onnxmltools ignores, or does not know."""
    known = (*CLASSIFIERS, *REGRESSORS)
    if objective not in known:
        raise Unsuitable(
            f"its objective is {objective or 'a function of its own'}",
            expected=f"one of {', '.join(known)}",
            remedy="train it with one of these, or serve it by a Python model",
        )
    ignored = [
        one for one in settings if one == "sqrt" or (one.startswith("sigmoid:") and one != "sigmoid:1")
    ]
    if "average_output" in header:
        ignored.append("boosting=rf")
    if b"\nis_linear=1" in text:
        ignored.append("linear_tree")
    if any(_takes_zero_for_absent(line) for line in text.splitlines()):
        ignored.append("zero_as_missing")
    if ignored:
        raise Unsuitable(
            f"it was trained with {', '.join(ignored)}",
            expected="trees whose leaves are added up, and no more",
            remedy="train it again without that, or serve it by a Python model",
        )
    mapped = text[text.rfind(b"pandas_categorical:") :].partition(b":")[2].split(b"\n")[0].strip()
    if b"pandas_categorical:" in text and mapped not in (b"null", b"[]", b""):
        raise Unsuitable(
            "it has columns of pandas' type category, which it numbers by a table of its own",
            expected="columns of numbers",
            remedy="number the categories before training, by scikit-learn's OrdinalEncoder in a pipeline",
        )


def _takes_zero_for_absent(line: bytes) -> bool:
    """Say whether a line tells of splits with bits 2 and 3 of their type 01: NaN is 10 there, none is 00."""
    if not line.startswith(_TYPES):
        return False
    return any(int(one) & 0b1100 == 0b0100 for one in line[len(_TYPES) :].split())


def _values(told: str) -> tuple[list[Range | None], list[list[int] | None]]:
    """Return the range or the categories of each feature; neither for one that the trees do not use."""
    ranges: list[Range | None] = []
    categories: list[list[int] | None] = []
    for one in told.split():
        is_range = one.startswith("[") and ":" in one
        low, high = one.strip("[]").split(":") if is_range else ("", "")
        ranges.append((float(low), float(high)) if is_range else None)
        categories.append(
            None if is_range or one == "none" else sorted(int(value) for value in one.split(":"))
        )
    return ranges, categories


def _around(categories: list[int] | None) -> Range | None:
    return (float(min(categories)), float(max(categories))) if categories else None


def _damaged(what: str) -> Unsuitable:
    return Unsuitable(
        f"it is no whole LightGBM model: {what}",
        expected="what Booster.save_model writes",
        remedy="save or fetch it again",
    )
