"""POST /v1/embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, errors, sampling
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.errors import invalid, unsupported
from builder.gateway.protocol.prompts import Prompt, prompts
from builder.gateway.triton import asking, hearing
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import EMBEDDING, Served

PATH = "/v1/embeddings"

Vectors = npt.NDArray[np.float32]


async def answer(door: Door, request: Request) -> Response:
    """Tell the vectors of texts. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), EMBEDDING)
    given = prompts(body, "input")
    form = body.text("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise invalid("encoding_format", "'encoding_format' must be float or base64", "invalid_value")
    width = _dimensions(model, body)
    seconds = sampling.timeout(body, request.headers)
    body.ignore(sampling.IGNORED)
    body.end()
    try:
        vectors, counts = await _vectors(door, model, given, seconds)
    except Failure as failure:
        raise errors.of_failure(failure, {"text_input": "input", "input_ids": "input"}) from failure
    return Response(_told(model.name, cut(vectors, width), counts, form), media_type="application/json")


def _told(name: str, vectors: Vectors, counts: int, form: str) -> bytes:
    shown = _base64 if form == "base64" else np.asarray
    data = [
        {"object": "embedding", "index": place, "embedding": shown(vector)}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": counts, "total_tokens": counts}
    told = {"object": "list", "data": data, "model": name, "usage": usage}
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


def cut(vectors: Vectors, width: int | None) -> Vectors:
    """Return the beginnings of vectors [n, m], each of length 1 again; the vectors themselves for None."""
    if width is None:
        return vectors
    parts = vectors[:, :width]
    lengths = np.linalg.norm(parts, axis=1, keepdims=True)
    return np.asarray(parts / np.where(lengths == 0, 1, lengths), dtype=np.float32)


async def _vectors(
    door: Door, model: Served, given: Sequence[Prompt], seconds: float | None
) -> tuple[Vectors, int]:
    """Return float32 [n, m] and how many tokens the texts have together. Raises Failure."""
    ids = [one for one in given if not isinstance(one, str)]
    asks = _of_ids(door, model, ids, seconds) if ids else _of_texts(door, model, given, seconds)
    parts = await asyncio.gather(*asks)
    return np.concatenate([part for part, _ in parts]), sum(count for _, count in parts)


def _of_texts(door: Door, model: Served, given: Sequence[Any], seconds: float | None) -> list[Any]:
    rows = max(1, model.most_rows)
    return [
        _ask(door, model.name, [asking.texts("text_input", given[start : start + rows])], seconds)
        for start in range(0, len(given), rows)
    ]


def _of_ids(door: Door, model: Served, rows: Sequence[list[int]], seconds: float | None) -> list[Any]:
    """Ask the encoder itself, whose rows are (tokens, ids that they take); ids are taken as they are."""
    return [
        _ask(
            door,
            f"{model.name}_encoder",
            [
                asking.integers("input_ids", [row]),
                asking.integers("rows", [[len(row), len(row)]]),
                asking.integers("extent", [[0] * len(row)]),
            ],
            seconds,
            len(row),
        )
        for row in rows
    ]


async def _ask(
    door: Door, name: str, inputs: list[asking.Tensor], seconds: float | None, counted: int | None = None
) -> tuple[Vectors, int]:
    outputs = ("embedding",) if counted is not None else ("embedding", "num_input_tokens")
    request = asking.request(name, inputs, outputs, seconds)
    found = await _computed(door, request, _TRIES_OF_TEXTS if counted is None else _TRIES_OF_IDS)
    return found["embedding"], int(found["num_input_tokens"].sum()) if counted is None else counted


_TRIES_OF_IDS, _TRIES_OF_TEXTS = 2, 4
_BOUNDS = re.compile(r"idx=(-?\d+) must be within the inclusive range \[-?\d+,(\d+)\]")
"""ONNX Runtime's words for an id, or a place in a text, that a table of the model does not have."""


async def _computed(door: Door, request: Any, tries: int) -> dict[str, Any]:
    """Return an encoder's outputs.

    A config does not tell the vocabulary, so nobody but the encoder can refuse ids, and all requests that
    share its batch fail with them: those are asked again.
    """
    for left in reversed(range(tries)):
        try:
            return await hearing.infer(door.connection, request)
        except Failure as failure:
            if failure.kind is Kind.UNAVAILABLE:
                door.catalogue.forget()
            beyond = _BOUNDS.search(failure.text)
            if beyond is None:
                raise
            if not left:
                told = f"input_ids has {beyond[1]} for an id or a place, this model has 0 to {beyond[2]}"
                raise Failure(Kind.INVALID, told) from failure
    raise AssertionError("tries is above 0")
