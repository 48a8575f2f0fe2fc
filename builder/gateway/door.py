"""What every endpoint works with: the settings of this gateway, its connection, what Triton serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.gateway import leading, notes
from builder.gateway.keys.prices import Prices
from builder.gateway.protocol.errors import ApiError, of_failure
from builder.gateway.protocol.metering import Meters
from builder.gateway.routing.live import Routing
from builder.gateway.triton import failures
from builder.gateway.triton.catalogue import Catalogue
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import Served


@dataclass(frozen=True)
class Settings:
    """How a gateway is run.

    Args:
        triton: "HOST:PORT" of Triton's gRPC endpoint.
        most_requests: answered at once by one worker; those beyond are refused.
        most_body_bytes: of one request.
        body_seconds: in which a client must have sent its body.
        keep_alive_seconds: of silence after which a stream gets a comment.
        keys: where the keys are kept; "" for a gateway that asks for none.
        prices: what tokens cost whoever has a key.
        routes: the file of routes, read again as it changes; None for none.
    """

    triton: str
    most_requests: int = 1024
    most_body_bytes: int = 16 * 2**20
    body_seconds: float = 60.0
    keep_alive_seconds: float = 10.0
    keys: str = ""
    prices: Prices = field(default_factory=Prices)
    routes: Path | None = None


@dataclass(frozen=True)
class Door:
    """One gateway at work."""

    settings: Settings
    connection: Connection
    catalogue: Catalogue
    meters: Meters
    routing: Routing

    async def find(self, name: str, kind: str = "") -> Served:
        """Return the model that answers for a name which the caller may see, of some kind if one is named.

        Whoever may see a route may be led anywhere by it. Raises ApiError.
        """
        noted = notes.current()
        is_hidden = not noted.may_see(name)
        route = None if is_hidden else self.routing.route(name)
        if route is None:
            model = await self._find(name, is_hidden=is_hidden)
        else:
            way = noted.way or self.routing.way(route, noted.asker)
            model = await self._along(leading.Led(name, way, kind))
            noted.way = way
        if kind and model.kind != kind:
            told = f"a model for {model.kind}" if model.kind else "a part of another model"
            message = f"'{name}' is {told}: this endpoint asks models for {kind}"
            raise ApiError(404, message, param="model", code="model_not_found")
        noted.model = model.name
        return model

    async def find_part(self, model: Served, part: str) -> Served:
        """Return a companion of a model that was found, such as its "tokenizer". Raises ApiError."""
        return await self._find(f"{model.name}_{part}")

    async def require_triton(self) -> None:
        """See that Triton can be asked what it serves. Raises ApiError."""
        if not self.catalogue.reachable:
            await self.catalogue.look()
        if not self.catalogue.reachable:
            raise of_failure(Failure(Kind.UNAVAILABLE, failures.LOST), {})

    def models(self) -> Sequence[Served]:
        """Return the models that the caller may see, by name; without those that a route hides."""
        may_see, routes = notes.current().may_see, self.routing.state.routes
        return [one for one in self.catalogue.models() if may_see(one.name) and one.name not in routes]

    def aliases(self) -> Sequence[Served]:
        """Return the routes that the caller may see and somebody answers for, as models, by name."""
        shown = [self.alias(name) for name in sorted(self.routing.state.routes)]
        return [one for one in shown if one is not None]

    def alias(self, name: str) -> Served | None:
        """Return a route that the caller may see and somebody answers for, as a model."""
        route = self.routing.route(name) if notes.current().may_see(name) else None
        return None if route is None else leading.shown(self.catalogue, name, route)

    def refused(self, failure: Failure, names: Mapping[str, str]) -> ApiError:
        """Take note that a model could not answer, and return what its client is told if no other one does.

        Args:
            names: as of_failure has it.
        """
        if failure.is_triton_gone:
            self.catalogue.forget()
        notes.current().failure = failure
        return of_failure(failure, names)

    async def _along(self, led: leading.Led) -> Served:
        try:
            return await led.model(self.catalogue)
        except Failure as failure:
            raise of_failure(failure, {}) from failure

    async def _find(self, name: str, *, is_hidden: bool = False) -> Served:
        try:
            return await self.catalogue.find(name, is_hidden=is_hidden)
        except Failure as failure:
            raise of_failure(failure, {}) from failure
