"""Where a route and what Triton serves meet: the model that is asked now, and a route shown as a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from builder.gateway.routing.route import Route
from builder.gateway.routing.way import Way
from builder.gateway.triton import failures
from builder.gateway.triton.catalogue import Catalogue
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import EMBEDDING, Served


@dataclass(frozen=True)
class Led:
    """A request that is led on its way, to models of some kind if one is named."""

    name: str
    way: Way
    kind: str

    async def model(self, catalogue: Catalogue) -> Served:
        """Return the next model of the way that is loaded, and go there.

        One of another kind is returned when there is no other. Raises Failure.
        """
        loaded = self._loaded(catalogue)
        if not loaded:
            await catalogue.look()
            loaded = self._loaded(catalogue)
        if not loaded:
            if not catalogue.reachable:
                raise Failure(Kind.UNAVAILABLE, failures.LOST)
            text = f"none of the models that '{self.name}' leads to is loaded: {', '.join(self.way.ahead)}"
            raise Failure(Kind.UNKNOWN_MODEL, text)
        fit = [one for one in loaded if not self.kind or one.kind == self.kind]
        model, *others = fit or loaded
        if model.kind == EMBEDDING and self.kind in ("", EMBEDDING) and len(self.way.route.models) > 1:
            raise Failure(Kind.UNKNOWN_MODEL, _INCOMPARABLE.format(self.name))
        self.way.go(model.name, [one.name for one in others])
        return model

    def _loaded(self, catalogue: Catalogue) -> list[Served]:
        found = [catalogue.loaded(name) for name in self.way.ahead]
        return [model for model in found if model is not None]


_INCOMPARABLE = (
    "'{}' leads to several models, whose vectors cannot be compared:"
    " embeddings are answered for a route that has 'to' alone"
)


def shown(catalogue: Catalogue, name: str, route: Route) -> Served | None:
    """Return a route as a model that has its name, None where nobody can answer for it now.

    Its context is the smallest of those that it may lead to, and it can what all of them can.
    """
    models = [one for model in route.models if (one := catalogue.loaded(model)) is not None and one.kind]
    if not models or (models[0].kind == EMBEDDING and len(route.models) > 1):
        return None
    like = [one for one in models if one.kind == models[0].kind]
    return replace(like[0], name=name, parameters={**_common(like), **_context(like)})


def _common(models: Sequence[Served]) -> dict[str, str]:
    told = dict(models[0].parameters)
    if not all(one.chats for one in models):
        told["chat"] = "false"
    if not all("tool_format" in one.parameters for one in models):
        told.pop("tool_format", None)
    return told


def _context(models: Sequence[Served]) -> dict[str, str]:
    lengths = [one.context_length for one in models if one.context_length is not None]
    return {"context_length": str(min(lengths))} if lengths else {}
