"""What a route is: the models that a name leads to, and in which order they are asked for a user."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from builder.gateway.routing import draw


@dataclass(frozen=True)
class Canary:
    """A model that takes a share of another one's users, and until when.

    Args:
        share: of the users, in percent.
        max_error_rate: how many more of its answers may fail than of the other's, 0 to 1.
        max_latency_ratio: how many times the other's its median latency may be.
        window: seconds that are looked back.
        min_answers: what its failures are counted against at the least, and both sides' latencies.
    """

    model: str
    share: float
    max_error_rate: float = 0.05
    max_latency_ratio: float = 2.0
    window: int = 300
    min_answers: int = 50


@dataclass(frozen=True)
class Route:
    """Where a name leads.

    Args:
        weights: model -> how much of the users it gets; one model for an alias.
        canary: beside one model only.
        fallback: asked in this order when the model chosen cannot answer.
    """

    name: str
    weights: Mapping[str, float]
    canary: Canary | None = None
    fallback: tuple[str, ...] = ()

    @property
    def stable(self) -> str:
        """Return the model that a canary stands beside; of a split the first."""
        return next(iter(self.weights))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Return every model that may answer, each once."""
        canary = (self.canary.model,) if self.canary else ()
        weighed = tuple(model for model, weight in self.weights.items() if weight)
        return tuple(dict.fromkeys((*weighed, *canary, *self.fallback)))

    @cached_property
    def trial(self) -> str:
        """Return what a canary's figures are kept under: another one as soon as anything here is changed."""
        told = repr((self.name, list(self.weights.items()), self.canary, self.fallback))
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    def order(self, user: str, *, with_canary: bool = True) -> tuple[str, ...]:
        """Return the models to ask for a user, one after the other; a canary's stable model stands behind it.

        Without its canary a route is as if it had none.
        """
        weights = self.weights
        if self.canary is not None and with_canary:
            share = self.canary.share
            weights = {self.stable: 100.0 - share, self.canary.model: share}
        chosen = draw.model(self.name, user, weights)
        behind = (self.stable,) if self.canary is not None else ()
        return tuple(dict.fromkeys((chosen, *behind, *self.fallback)))
