"""A witness that is asked with a whole prompt each time; its library's prefix cache has what came before."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt


class Prompted(ABC):
    """One sequence at a time; `start` begins a new one."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def start(self, ids: list[int], tokens: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after the prompt."""
        self._ids = list(ids)
        return self.logits(self._ids)

    def append(self, token: int) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after one more token."""
        self._ids.append(token)
        return self.logits(self._ids)

    @abstractmethod
    def logits(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits [vocabulary] after these ids."""
