"""POST /v1/rerank, /v2/rerank and /rerank: the form that Cohere began (docs.cohere.com/reference/rerank).

Jina and vLLM answer in the same. How many tokens were read is not told: the models tell scores alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, sampling, sse
from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.errors import invalid
from builder.gateway.protocol.prompts import MOST
from builder.gateway.triton import scores
from builder.gateway.triton.failures import Failure
from builder.gateway.triton.scores import Scores
from builder.gateway.triton.served import RERANKING, Served

PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")


async def answer(door: Door, request: Request) -> Response:
    """Tell how well documents fit a query, the best first. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), RERANKING)
    query = clean("query", body.need("query", str))
    documents = _documents(body)
    top = body.whole("top_n", 1, 2**31 - 1)
    shows = body.flag("return_documents")
    seconds = sampling.timeout(body, request.headers)
    body.ignore(sampling.IGNORED)
    body.end()
    most = await _pairs(door, model)
    asking = scores.of(door.connection, model, query, documents, most, seconds)
    try:
        found = await sse.unless_left(request.receive, asking)
    except Failure as failure:
        raise door.refused(failure, {}) from failure
    results = ranked(found, documents if shows else None)[:top]
    told = {"id": f"rerank-{os.urandom(12).hex()}", "model": model.name, "results": results}
    return Response(orjson.dumps(told), media_type="application/json")


def ranked(found: Scores, documents: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return results by falling score, those of equal scores in the order of the documents."""
    order = sorted(range(len(found)), key=lambda place: -float(found[place]))
    results: list[dict[str, Any]] = []
    for place in order:
        shown = {} if documents is None else {"document": {"text": documents[place]}}
        results.append({"index": place, "relevance_score": float(found[place]), **shown})
    return results


def _documents(body: Body) -> list[str]:
    given = body.need("documents", list)
    if not 1 <= len(given) <= MOST:
        message = f"'documents' has {len(given)} entries, it must have 1 to {MOST}"
        raise invalid("documents", message, "invalid_value")
    return [_document(f"documents[{place}]", one) for place, one in enumerate(given)]


def _document(place: str, given: Any) -> str:
    text = given.get("text") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise invalid(place, f"'{place}' must be a string, or an object with a 'text'", "invalid_type")
    return clean(place, text)


async def _pairs(door: Door, model: Served) -> int:
    """Return how many pairs one request may have: as many as its encoder takes at once."""
    encoder = await door.find_part(model, "encoder")
    return max(1, encoder.most_rows)
