"""What every endpoint works with: the settings of this gateway, its connection, what Triton serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from builder.gateway import notes
from builder.gateway.keys.prices import Prices
from builder.gateway.protocol.errors import ApiError, of_failure
from builder.gateway.protocol.metering import Meters
from builder.gateway.triton.catalogue import Catalogue
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure
from builder.gateway.triton.served import Served


@dataclass(frozen=True)
class Settings:
    """How a gateway is run.

    Args:
        triton: "HOST:PORT" of Triton's gRPC endpoint.
        most_requests: answered at once by one worker; those beyond are refused.
        most_body_bytes: of one request.
        keep_alive_seconds: of silence after which a stream gets a comment.
        keys: where the keys are kept; "" for a gateway that asks for none.
        prices: what tokens cost whoever has a key.
    """

    triton: str
    most_requests: int = 1024
    most_body_bytes: int = 16 * 2**20
    keep_alive_seconds: float = 10.0
    keys: str = ""
    prices: Prices = field(default_factory=Prices)


@dataclass(frozen=True)
class Door:
    """One gateway at work."""

    settings: Settings
    connection: Connection
    catalogue: Catalogue
    meters: Meters

    async def find(self, name: str, kind: str = "") -> Served:
        """Return a model that the caller may see, of some kind if one is named. Raises ApiError."""
        noted = notes.current()
        model = await self._find(name, is_hidden=not noted.may_see(name))
        if kind and model.kind != kind:
            told = f"a model for {model.kind}" if model.kind else "a part of another model"
            message = f"'{name}' is {told}: this endpoint asks models for {kind}"
            raise ApiError(404, message, param="model", code="model_not_found")
        noted.model = model.name
        return model

    async def find_part(self, model: Served, part: str) -> Served:
        """Return a companion of a model that was found, such as its "tokenizer". Raises ApiError."""
        return await self._find(f"{model.name}_{part}")

    def models(self) -> Sequence[Served]:
        """Return the models that the caller may see, by name."""
        return [one for one in self.catalogue.models() if notes.current().may_see(one.name)]

    async def _find(self, name: str, *, is_hidden: bool = False) -> Served:
        try:
            return await self.catalogue.find(name, is_hidden=is_hidden)
        except Failure as failure:
            raise of_failure(failure, {}) from failure
