"""GET /metrics, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from builder.gateway import notes
from builder.gateway.door import Door
from builder.gateway.protocol.errors import ApiError

PATH = "/metrics"


async def answer(door: Door, request: Request) -> Response:
    """Tell requests, tokens, streams and times to first tokens, of all processes. Raises ApiError."""
    from prometheus_client import CONTENT_TYPE_LATEST

    if notes.current().models is not None:
        message = "the figures are of all models, and this key is for some: use one made without --models"
        raise ApiError(403, message, code="insufficient_permissions")

    return Response(door.meters.text(), headers={"content-type": CONTENT_TYPE_LATEST})
