"""What `--fit` chose: which part of the weights has which type, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part: the type its matrices really have (several between +), their bytes, its loss in nats."""

    kind: str
    size: int
    loss: float


@dataclass(frozen=True)
class Mixture:
    """What was chosen: `parts` by name, `tensors` of the artifact by name with the type of each matrix.

    `budget` is what was asked for and `size` what all weights take, vectors too, in bytes. `loss` is what all
    parts lose together in nats, measured with `texts` (a digest; "" where it is assumed), `least` and `most`
    what they would with the largest and with the smallest types. `unbound` says that more room changes
    nothing.
    """

    budget: int
    size: int
    parts: Mapping[str, Part]
    tensors: Mapping[str, str]
    loss: float
    least: float
    most: float
    texts: str
    tokens: int
    unbound: bool

    @property
    def measured(self) -> bool:
        """Say whether losses were measured."""
        return bool(self.texts)

    def to_json(self) -> dict[str, Any]:
        """Return the mixture as JSON would hold it."""
        return {**asdict(self), "tensors": dict(self.tensors)}
