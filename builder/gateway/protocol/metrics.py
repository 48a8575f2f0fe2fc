"""GET /metrics, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door

PATH = "/metrics"


async def answer(door: Door, request: Request) -> Response:
    """Tell requests, tokens, streams and times to first tokens, of all processes."""
    from prometheus_client import CONTENT_TYPE_LATEST

    return Response(door.meters.text(), headers={"content-type": CONTENT_TYPE_LATEST})
