"""The config of a model of a table: one way to say it, whoever trained it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from builder import graph
from builder.graph import Unsuitable

FEATURES, PREDICTION, PROBABILITIES = "features", "prediction", "probabilities"

Range = tuple[float, float]


def config(
    model_type: str,
    inputs: list[dict[str, Any]],
    labels: Sequence[str] | None = None,
    prediction: str = "FP32",
    width: int = 1,
    probabilities: bool = True,
) -> dict[str, Any]:
    """Return what `sources/tabular.py` writes of a model.

    Args:
        model_type: the file of `architectures/`.
        inputs: entries as `columns` or `features` make them.
        labels: the classes as text, in the order of the probabilities; None for a regressor.
        prediction: Triton's data type of the answer.
        width: how many numbers a regressor answers with.
        probabilities: whether a classifier tells them.
    """
    require_names(inputs)
    outputs = [graph.tensor(PREDICTION, prediction, [width])]
    if labels is not None and probabilities:
        outputs.append(graph.tensor(PROBABILITIES, "FP32", [len(labels)], labelled=True))
    return {
        "model_type": model_type,
        "kind": "regressor" if labels is None else "classifier",
        "labels": list(labels or ()),
        "inputs": inputs,
        "outputs": outputs,
        "batches": True,
    }


def columns(names: Iterable[str], ranges: Sequence[Range | None]) -> list[dict[str, Any]]:
    """Return one float32 input for each named column; a range is what its values lay between in training."""
    return [column(str(name), "FP32", one) for name, one in zip(names, ranges, strict=True)]


def column(
    name: str, data_type: str, between: Range | None = None, categories: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Return the input of one column."""
    more: dict[str, Any] = {}
    if between is not None:
        more["ranges"] = [list(between)]
    if categories is not None:
        more["categories"] = list(categories)
    return graph.tensor(name, data_type, [1], **more)


def features(ranges: Sequence[Range | None], data_type: str = "FP32") -> list[dict[str, Any]]:
    """Return one input for all columns, which have no names."""
    more = {"ranges": [list(one) if one else [-1.0, 1.0] for one in ranges]} if any(ranges) else {}
    return [graph.tensor(FEATURES, data_type, [len(ranges)], **more)]


def require_names(inputs: Sequence[dict[str, Any]]) -> None:
    """Raise Unsuitable where columns cannot be told apart from each other or from the answers."""
    names = [one["name"] for one in inputs]
    bad = {name for name in names if names.count(name) > 1 or name in (PREDICTION, PROBABILITIES) or not name}
    if bad:
        raise Unsuitable(
            f"columns are called {', '.join(repr(name) for name in sorted(bad))}",
            expected=f"a name for each column, and none of the outputs {PREDICTION} and {PROBABILITIES}",
            remedy="rename the columns and fit the model again",
        )
