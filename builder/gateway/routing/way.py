"""The way of one request: the models that it is to be asked of, one after the other, and how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from builder.gateway.routing.route import Route


@dataclass
class Way:
    """Of one request that asked for a route by some name.

    Args:
        ahead: models that have not been asked.
        model: the one that is asked now; "" for none yet.
        passed: those that could not be asked, or could not answer.
    """

    route: Route
    ahead: Sequence[str]
    model: str = ""
    passed: list[str] = field(default_factory=list)

    def go(self, model: str, ahead: Sequence[str]) -> None:
        """Go to a model, by those that stand before it; `ahead` are those that may still be asked then."""
        if self.model:
            self.passed.append(self.model)
        self.passed += self.ahead[: self.ahead.index(model)]
        self.model, self.ahead = model, ahead
