"""Trees of LightGBM as they were saved, asked by LightGBM itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import trust
from builder.proving.originals import trees
from builder.proving.originals.drawing import samples as samples
from builder.proving.originals.specials import around
from builder.tabular import reading, sklearn
from builder.tabular.lightgbm import splits

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Original
    from builder.proving.originals.specials import Kinds


def is_sharp(path: Path) -> bool:
    """Say whether answers jump at thresholds, and nowhere else."""
    return True


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the trees as a function of their columns; whoever asks for them has the user's trust."""
    return trees.original(config, _read(path).predict)


def specials(path: Path) -> list[Kinds]:
    """Return for each column the thresholds of its splits."""
    native = _read(path)
    thresholds: list[list[float]] = [[] for _ in range(native.num_feature())]
    for feature, threshold in splits(native.dump_model()["tree_info"]):
        thresholds[feature].append(threshold)
    return [[around(one)] for one in thresholds]


def _read(path: Path) -> Any:
    import lightgbm

    if path.suffix.lower() == ".txt":
        return lightgbm.Booster(model_file=path)
    with trust.granted():
        return sklearn.booster(reading.load(path))
