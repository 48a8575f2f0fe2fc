"""A scikit-learn estimator as it was saved, asked by its own predict and predict_proba."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import trust
from builder.proving.originals.drawing import CERTAIN, DATA_TYPES
from builder.proving.originals.drawing import samples as samples
from builder.tabular import precision, reading, rows
from builder.tabular.describing import PREDICTION, PROBABILITIES

if TYPE_CHECKING:
    import numpy as np

    from builder.proving.originals.drawing import Arrays, Original
    from builder.proving.originals.specials import Kinds

_NEAR = 1e-4
"""Scores are near each other whose distance is less than this share of the largest: float32 errs by less."""


def is_sharp(path: Path) -> bool:
    """Say whether answers jump at the thresholds of trees, and nowhere else."""
    with trust.granted():
        return precision.compares(reading.load(path))


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the estimator as a function of its columns; whoever asks for it has the user's trust."""
    import numpy as np

    with trust.granted():
        model = reading.load(path)
    told = {one["name"]: one for one in config["outputs"]}

    def answer(inputs: Arrays) -> Arrays:
        table = rows.table(model, inputs)
        count = len(next(iter(inputs.values())))
        kind = DATA_TYPES[told[PREDICTION]["data_type"]]
        found = {PREDICTION: np.asarray(model.predict(table)).reshape(count, -1).astype(kind)}
        if PROBABILITIES in told:
            found[PROBABILITIES] = np.asarray(model.predict_proba(table)).astype(np.float32)
        if config["kind"] == "classifier" and hasattr(model, "decision_function"):
            found[CERTAIN] = _certain(np.asarray(model.decision_function(table), np.float64))
        return found

    return answer


def specials(path: Path) -> list[Kinds]:
    """Return nothing: what its steps are, they say in the config."""
    return []


def _certain(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Say of each row whether its best score is clear of the next: these decide, not the probabilities.

    Of two classes there is one score, and 0 between them.
    """
    import numpy as np

    size = _NEAR * float(np.abs(scores).max(initial=0.0))
    if scores.ndim < 2:
        return np.asarray(np.abs(scores) > size)
    best = np.sort(scores, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] > size)
