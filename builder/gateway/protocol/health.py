"""GET /health: 200 while Triton can be asked, 503 while it cannot."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door

PATH = "/health"


async def answer(door: Door, request: Request) -> Response:
    """Tell how it is; nothing about models, as nobody needs a key for it."""
    well = door.catalogue.reachable
    told = {"status": "ok"} if well else {"status": "triton cannot be reached"}
    return Response(orjson.dumps(told), 200 if well else 503, media_type="application/json")
