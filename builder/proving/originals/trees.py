"""The answers of trees from what their own library says of a row: its class's probability, or a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from builder.proving.originals.drawing import DATA_TYPES
from builder.tabular.describing import PREDICTION, PROBABILITIES

if TYPE_CHECKING:
    import numpy as np

    from builder.proving.originals.drawing import Original


def original(config: Mapping[str, Any], values: Callable[[np.ndarray[Any, Any]], Any]) -> Original:
    """Return a function of named columns.

    Args:
        config: what the source wrote of the trees.
        values: of float32 [rows, columns]: numbers [rows], or of several classes [rows, classes].
    """
    import numpy as np

    names = [one["name"] for one in config["inputs"]]
    labels, kind = config["labels"], DATA_TYPES[config["outputs"][0]["data_type"]]

    def answer(inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        found = np.asarray(values(np.concatenate([inputs[name] for name in names], axis=1)))
        if config["kind"] == "regressor":
            return {PREDICTION: found.reshape(len(found), -1).astype(np.float32)}
        both = found if found.ndim > 1 else np.stack([1 - found, found], axis=1)
        classes = np.array([_label(one, kind) for one in labels], kind)
        best = np.argmax(both, axis=1)[:, None]
        return {PREDICTION: classes[best], PROBABILITIES: both.astype(np.float32)}

    return answer


def _label(text: str, kind: str) -> Any:
    if kind == "object":
        return text
    return int(text == "True") if text in ("True", "False") else int(text)
