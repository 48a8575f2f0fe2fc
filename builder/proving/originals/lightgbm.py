"""Trees of LightGBM as they were saved, asked by LightGBM itself."""

from __future__ import annotations

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
    import lightgbm

    if path.suffix.lower() == ".txt":
        model = lightgbm.Booster(model_file=path)
    else:
        with trust.granted():
            model = reading.load(path)
    return trees.original(config, sklearn.booster(model).predict)
