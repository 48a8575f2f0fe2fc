"""POST /tokenize and /detokenize, in the form of vLLM's server."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, errors
from builder.gateway.protocol.errors import unsupported
from builder.gateway.protocol.prompts import prompts
from builder.gateway.triton import tokens
from builder.gateway.triton.failures import Failure
from builder.gateway.triton.served import CHAT

PATH = "/tokenize"
PATH_BACK = "/detokenize"


async def answer(door: Door, request: Request) -> Response:
    """Tell the ids of a text. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model())
    if "messages" in body:
        raise unsupported("messages", "the model's template is known to the model alone: send 'prompt'")
    text = bodies.clean("prompt", body.need("prompt", str))
    body.end()
    tokenizer = await door.find_part(model, "tokenizer")
    try:
        ids = await tokens.ids(door.connection, tokenizer, text)
    except Failure as failure:
        raise errors.of_failure(failure, {"text_input": "prompt"}) from failure
    told = {"count": len(ids), "max_model_len": model.context_length, "tokens": ids}
    return Response(orjson.dumps(told), media_type="application/json")


async def answer_back(door: Door, request: Request) -> Response:
    """Tell the text of ids. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), CHAT)
    (ids,) = prompts(body, "tokens")[:1]
    body.end()
    if isinstance(ids, str):
        raise errors.invalid("tokens", "'tokens' must be an array of token ids", "invalid_type")
    try:
        text = await tokens.text(door.connection, model, ids)
    except Failure as failure:
        raise errors.of_failure(failure, {"output_ids": "tokens"}) from failure
    return Response(orjson.dumps({"prompt": text}), media_type="application/json")
