"""The name of the best label, for engines that give numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SCORES, LABEL = "scores", "label"


class Labels:
    """The names of the columns of `scores`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = np.array([name.encode() for name in names], dtype=np.object_)

    def name(self, scores: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
        """Return bytes [rows, 1], of the highest of scores [rows, labels]; of equal ones the first wins.

        Raises:
            ValueError: there is not one score for each label.
        """
        if scores.ndim != 2 or scores.shape[1] != len(self._names):
            raise ValueError(
                f"{SCORES} has shape {list(scores.shape)}, expected one number for each of "
                f"{len(self._names)} labels"
            )
        best: npt.NDArray[np.object_] = self._names[scores.argmax(axis=1)][:, None]
        return best
