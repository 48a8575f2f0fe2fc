"""GET /v1/models and /v1/models/{id} (platform.openai.com/docs/api-reference/models)."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import offers
from builder.gateway.protocol.errors import ApiError
from builder.gateway.triton.served import Served

PATH = "/v1/models"
PATH_OF_ONE = "/v1/models/{model}"


async def answer(door: Door, request: Request) -> Response:
    """Tell what is served now. Raises ApiError."""
    await door.require_triton()
    data = [told(model) for model in door.models()]
    data += [told(alias, "builder") for alias in door.aliases()]
    return Response(orjson.dumps({"object": "list", "data": data}), media_type="application/json")


async def answer_of_one(door: Door, request: Request) -> Response:
    """Tell of one model. Raises ApiError."""
    name = request.path_params["model"]
    model = await door.find(name)
    if not model.kind:
        message = f"'{name}' is a part of another model"
        raise ApiError(404, message, param="model", code="model_not_found")
    alias = door.alias(name)
    record = told(model) if alias is None else told(alias, "builder")
    return Response(orjson.dumps(record), media_type="application/json")


def told(model: Served, owner: str = "triton") -> dict[str, Any]:
    """Return the record of a model or an alias: OpenAI's, and what others tell beside it."""
    known = {"id": model.name, "object": "model", "created": model.created, "owned_by": owner}
    # vLLM's name for it, which clients look for
    length = {"max_model_len": model.context_length} if model.context_length else {}
    return {**known, "task": model.kind, "capabilities": _capabilities(model), **length}


def _capabilities(model: Served) -> dict[str, bool]:
    """Return what a model can, by the names of Mistral's API (docs.mistral.ai/api, GET /v1/models)."""
    return {
        "completion_chat": model.chats,
        "function_calling": offers.takes_tools(model),
        # no front takes images
        "vision": False,
    }
