"""A scikit-learn estimator as it was saved, asked by its own predict and predict_proba."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import trust
from builder.proving.originals.drawing import DATA_TYPES
from builder.proving.originals.drawing import samples as samples
from builder.tabular import reading, rows
from builder.tabular.describing import PREDICTION, PROBABILITIES

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Arrays, Original


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
        return found

    return answer
