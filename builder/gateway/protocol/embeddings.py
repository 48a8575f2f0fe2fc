"""POST /v1/embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway import notes
from builder.gateway.door import Door
from builder.gateway.protocol import bodies, sampling, sse
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.errors import invalid, unsupported
from builder.gateway.protocol.prompts import prompts
from builder.gateway.protocol.usage import Read
from builder.gateway.triton import vectors
from builder.gateway.triton.failures import Failure
from builder.gateway.triton.served import EMBEDDING, Served
from builder.gateway.triton.vectors import Vectors

PATH = "/v1/embeddings"


async def answer(door: Door, request: Request) -> Response:
    """Tell the vectors of texts. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), EMBEDDING)
    given = prompts(body, "input")
    form = body.text("encoding_format") or "float"
    if form not in ("float", "base64"):
        message = f"'encoding_format' is {bodies.shown(form)}, it must be float or base64"
        raise invalid("encoding_format", message, "invalid_value")
    width = _dimensions(model, body)
    seconds = sampling.timeout(body, request.headers)
    body.ignore(sampling.IGNORED)
    body.end()
    ids = [one for one in given if not isinstance(one, str)]
    texts = [one for one in given if isinstance(one, str)]
    if ids:
        asking = vectors.of_ids(door.connection, model, ids, seconds)
    else:
        asking = vectors.of_texts(door.connection, model, texts, seconds)
    try:
        found, tokens = await sse.unless_left(request.receive, asking)
    except Failure as failure:
        raise door.refused(failure, {"text_input": "input", "input_ids": "input"}) from failure
    usage = Read(tokens)
    notes.current().usage = usage
    return Response(_told(model.name, cut(found, width), usage, form), media_type="application/json")


def _told(name: str, found: Vectors, usage: Read, form: str) -> bytes:
    shown = _base64 if form == "base64" else np.asarray
    data = [
        {"object": "embedding", "index": place, "embedding": shown(vector)}
        for place, vector in enumerate(found)
    ]
    told = {"object": "list", "data": data, "model": name, "usage": usage.told()}
    return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _dimensions(model: Served, body: Body) -> int | None:
    """Return to how many numbers the vectors are to be cut.

    Only a model trained for it (Matryoshka representations, arXiv:2205.13147) may be cut: its config says
    to which sizes, in the parameter `matryoshka_dimensions`, parted by commas.
    """
    wanted = body.whole("dimensions", 1, 2**31 - 1)
    allowed = model.parameters.get("matryoshka_dimensions", "").replace(" ", "")
    if wanted is None:
        return None
    if not allowed:
        raise unsupported("dimensions", f"the model '{model.name}' was not made to be cut")
    if str(wanted) not in allowed.split(","):
        raise invalid("dimensions", f"'dimensions' is {wanted}, it must be one of {allowed}", "invalid_value")
    return wanted


def cut(whole: Vectors, width: int | None) -> Vectors:
    """Return the beginnings of vectors [n, m], each of length 1 again; the vectors themselves for None."""
    if width is None:
        return whole
    parts = whole[:, :width]
    lengths = np.linalg.norm(parts, axis=1, keepdims=True)
    return np.asarray(parts / np.where(lengths == 0, 1, lengths), dtype=np.float32)
