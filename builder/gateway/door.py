"""What every endpoint works with: the settings of this gateway, its connection, what Triton serves."""

from __future__ import annotations

from dataclasses import dataclass

from builder.gateway.protocol.errors import ApiError, of_failure
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
    """

    triton: str
    most_requests: int = 1024
    most_body_bytes: int = 16 * 2**20
    keep_alive_seconds: float = 10.0


@dataclass(frozen=True)
class Door:
    """One gateway at work."""

    settings: Settings
    connection: Connection
    catalogue: Catalogue

    async def find(self, name: str, kind: str = "") -> Served:
        """Return a model, of some kind if one is named. Raises ApiError."""
        try:
            model = await self.catalogue.find(name)
        except Failure as failure:
            raise of_failure(failure, {}) from failure
        if kind and model.kind != kind:
            told = f"a model for {model.kind}" if model.kind else "a part of another model"
            message = f"'{name}' is {told}: this endpoint asks models for {kind}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return model
