"""Trees of XGBoost as they were saved, asked by XGBoost itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import trust
from builder.proving.originals import trees
from builder.proving.originals.drawing import samples as samples
from builder.proving.originals.specials import around
from builder.tabular import reading, sklearn
from builder.tabular.xgboost import absent

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Original
    from builder.proving.originals.specials import Kinds


def is_sharp(path: Path) -> bool:
    """Say whether answers jump at thresholds, and nowhere else."""
    return True


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the trees as a function of their columns; whoever asks for them has the user's trust."""
    import xgboost

    model = _read(path)
    native = sklearn.booster(model)
    best = native.attr("best_iteration") if native is not model else None
    rounds = (0, int(best) + 1) if best is not None else (0, 0)

    # multi:softmax answers with the class alone
    hides = json.loads(native.save_config())["learner"]["objective"]["name"] == "multi:softmax"

    def values(table: Any) -> Any:
        rows = xgboost.DMatrix(table, missing=absent(model), feature_names=native.feature_names)
        found = native.predict(rows, iteration_range=rounds, output_margin=hides)
        return _softmax(found) if hides else found

    return trees.original(config, values)


def specials(path: Path) -> list[Kinds]:
    """Return for each column the thresholds of its splits, and the number that stands for an absent one."""
    model = _read(path)
    native = sklearn.booster(model)
    thresholds: list[list[float]] = [[] for _ in range(native.num_features())]
    for tree in json.loads(native.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]:
        splits = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
        for left, feature, threshold in splits:
            if left >= 0:
                thresholds[feature].append(threshold)
    return [[around(one), [absent(model)]] for one in thresholds]


def _read(path: Path) -> Any:
    import xgboost

    if path.suffix.lower() in (".json", ".ubj"):
        return xgboost.Booster(model_file=path)
    with trust.granted():
        return reading.load(path)


def _softmax(margins: Any) -> Any:
    import numpy as np

    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
