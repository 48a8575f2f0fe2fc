"""Trees of XGBoost as they were saved, asked by XGBoost itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import trust
from builder.proving.originals import trees
from builder.proving.originals.drawing import samples as samples
from builder.tabular import reading, sklearn

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Original


def is_sharp(path: Path) -> bool:
    """Say whether answers jump at thresholds, and nowhere else."""
    return True


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the trees as a function of their columns; whoever asks for them has the user's trust."""
    import xgboost

    if path.suffix.lower() in (".json", ".ubj"):
        model = xgboost.Booster(model_file=path)
    else:
        with trust.granted():
            model = reading.load(path)
    native = sklearn.booster(model)
    best = native.attr("best_iteration") if native is not model else None
    rounds = (0, int(best) + 1) if best is not None else (0, 0)

    # multi:softmax answers with the class alone
    hides = json.loads(native.save_config())["learner"]["objective"]["name"] == "multi:softmax"

    def values(table: Any) -> Any:
        rows = xgboost.DMatrix(table, feature_names=native.feature_names)
        found = native.predict(rows, iteration_range=rounds, output_margin=hides)
        return _softmax(found) if hides else found

    return trees.original(config, values)


def _softmax(margins: Any) -> Any:
    import numpy as np

    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
