"""/generate and /generate_stream of Hugging Face's Text Generation Inference (its docs/openapi.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, generation, sampling, sse
from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.errors import ApiError, invalid, unsupported
from builder.gateway.protocol.generation import Asked
from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.served import CHAT, Served

PATH, STREAM_PATH = "/generate", "/generate_stream"
MOST_TOKENS = 100
"""Of an answer, where nothing is said: TGI's own."""

_NAMES = {
    "text_input": "inputs",
    "prompt": "inputs",
    "max_tokens": "max_new_tokens",
    "stop_words": "stop",
    "return_log_probs": "details",
    "guided_decoding_guide_type": "grammar",
    "guided_decoding_guide": "grammar",
}
WITHOUT_EFFECT = {
    "watermark": False,
    "decoder_input_details": False,
    "return_full_text": False,
    "best_of": 1,
    "top_n_tokens": 0,
    "typical_p": 1.0,
}
"""Parameters that nothing here honours, and with which value nothing is asked of them."""
_DRAWN = ("temperature", "top_k", "top_p")
"""Any of these has tokens drawn; without them, and without `do_sample`, the likeliest is taken."""
_REASONS = {"stop": "eos_token", "length": "length"}
"""The front tells of one `stop`, whether it was the model's end or one of the texts in `stop`."""


async def generate(door: Door, request: Request) -> Response:
    """Continue a text as TGI does."""
    return await _answer(door, request, stream=False)


async def generate_stream(door: Door, request: Request) -> Response:
    """Continue a text as TGI does, an event for each token."""
    return await _answer(door, request, stream=True)


def refusal(error: ApiError) -> Response:
    """Return an error in TGI's shape."""
    kind = {408: "timeout", 429: "overloaded"}.get(error.status, "validation")
    told = {"error": error.message, "error_type": "generation" if error.status >= 500 else kind}
    status = 422 if error.status == 400 else error.status
    return Response(orjson.dumps(told), status, error.headers(), "application/json")


async def _answer(door: Door, request: Request, *, stream: bool) -> Response:
    try:
        body = await bodies.read(request, door.settings.most_body_bytes)
        model = await _model(door, body)
        prompt = clean("inputs", body.need("inputs", str))
        parameters = Body(body.take("parameters", dict) or {})
        body.end()
        details = parameters.flag("details") or stream
        asked = _asked(model, prompt, parameters, stream, details)
        writer = Writer(asked, details=details)
        started = generation.start(door, asked)
        if stream:
            return Events(started, writer)
        (pieces,) = await sse.unless_gone(request.receive, started)
        return Response(writer.whole(pieces), media_type="application/json")
    except ApiError as error:
        return refusal(error)


async def _model(door: Door, body: Body) -> Served:
    """Return the model that a body names: TGI serves one, and so no body of its clients names any."""
    if "model" in body:
        return await door.find(body.model(), CHAT)
    # a second name for the only model makes no choice of it
    served = [one for one in door.models() if one.kind == CHAT] or door.aliases()
    found = [one.name for one in served if one.kind == CHAT]
    if len(found) > 1:
        raise invalid(
            "model", f"'model' is missing: there are {', '.join(found)}", "missing_required_parameter"
        )
    # none at all may be one that comes back
    return await door.find(found[0] if found else "", CHAT)


def _asked(model: Served, prompt: str, parameters: Body, stream: bool, details: bool) -> Asked:
    for name, nothing in WITHOUT_EFFECT.items():
        value = parameters.take(name, *((bool,) if isinstance(nothing, bool) else (int, float)))
        if value is not None and value != nothing:
            raise unsupported(name)
    draws = any([parameters.flag("do_sample"), *(parameters.peek(name) is not None for name in _DRAWN)])
    most = parameters.whole("max_new_tokens", 1, sampling.LARGEST) or MOST_TOKENS
    inputs = {**sampling.read(parameters), **_grammar(parameters), "max_tokens": most}
    parameters.end()
    return Asked(
        model=model,
        prompts=[{"text_input": prompt}],
        inputs=inputs if draws else {**inputs, "temperature": 0.0},
        sequences=1,
        stream=stream,
        tops=0 if details else None,
        seconds=None,
        names=_NAMES,
    )


def _grammar(parameters: Body) -> dict[str, str]:
    """Return what an answer must be."""
    told = parameters.take("grammar", dict)
    if told is None:
        return {}
    kind, value = told.get("type"), told.get("value")
    if kind == "json" and isinstance(value, dict):
        return sampling.guide("grammar", {"type": "json_schema", "json_schema": {"schema": value}})
    if kind == "regex" and isinstance(value, str):
        text = clean("grammar", value)
        return {"guided_decoding_guide_type": "regex", "guided_decoding_guide": text}
    message = "'grammar' must have the type json and a schema, or regex and an expression, as its value"
    raise invalid("grammar", message, "invalid_value")


class Events(sse.EventStream):
    """A stream of tokens."""

    def refusal(self, error: ApiError) -> Response:
        """Return the response of an error before the first token."""
        return refusal(error)


class Writer:
    """The events of one answer, or its whole."""

    def __init__(self, asked: Asked, *, details: bool) -> None:
        self._token_texts = asked.model.token_texts
        self._details = details
        self._seed = asked.inputs.get("seed")
        self._texts: list[str] = []
        self._tokens: list[dict[str, Any]] = []

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return an event for each token of a piece; the last of an answer tells the whole."""
        begun = len(self._tokens)
        self._hear(piece)
        if piece.reason and len(self._tokens) == begun:
            # an event has a token: the end, which has none of its own, is told with the last one again
            last = self._tokens[-1]["id"] if self._tokens else 0
            self._tokens.append({"id": last, "text": piece.text, "logprob": 0.0, "special": not piece.text})
        told: list[dict[str, Any]] = [
            {"index": place + 1, "token": token, "generated_text": None, "details": None}
            for place, token in enumerate(self._tokens[begun:], begun)
        ]
        if piece.reason:
            told[-1] |= {"generated_text": "".join(self._texts), "details": self._end(piece)}
        return b"".join([b"data:" + orjson.dumps(one) + b"\n\n" for one in told])

    def last(self, usage: dict[str, int]) -> bytes:
        """Return nothing: the last token has told that it is."""
        return b""

    def failed(self, error: ApiError) -> bytes:
        """Return an error as the last event."""
        return b"data:" + bytes(refusal(error).body) + b"\n\n"

    def whole(self, pieces: Sequence[Piece]) -> bytes:
        """Return the answer as one object."""
        for piece in pieces:
            self._hear(piece)
        told: dict[str, Any] = {"generated_text": "".join(self._texts)}
        if self._details:
            told["details"] = {**self._end(pieces[-1]), "prefill": [], "tokens": self._tokens}
        return orjson.dumps(told)

    def _hear(self, piece: Piece) -> None:
        """Keep the tokens of a piece; a text that several have together stands at the last of them."""
        self._texts.append(piece.text)
        for place, one in enumerate(piece.ids):
            text = piece.text if place == len(piece.ids) - 1 else ""
            logprob = piece.log_probs[place] if place < len(piece.log_probs) else 0.0
            special = not self._token_texts.get(one)
            self._tokens.append({"id": one, "text": text, "logprob": logprob, "special": special})

    def _end(self, piece: Piece) -> dict[str, Any]:
        reason = _REASONS.get(piece.reason, piece.reason)
        return {"finish_reason": reason, "generated_tokens": piece.output_tokens, "seed": self._seed}
