"""Ollama's /api/chat, /api/generate, /api/tags, /api/version (docs.ollama.com/api), for clients made for it.

What it does with model files is none of a gateway's business: no other of its endpoints is here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

import builder
from builder.gateway.door import Door
from builder.gateway.protocol import bodies, generation, messages, offers, sampling, sse
from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.calls import Delta, Readers, message
from builder.gateway.protocol.errors import ApiError, invalid, unsupported
from builder.gateway.protocol.generation import Asked
from builder.gateway.protocol.offers import Offer
from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.served import CHAT, Served

CHAT_PATH, GENERATE_PATH, TAGS_PATH = "/api/chat", "/api/generate", "/api/tags"
VERSION_PATH = "/api/version"
PREFIX = "/api/"
LATEST = ":latest"
"""What clients put behind a name that has no tag."""

_RENAMED = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
_NAMES = {
    **{theirs: ours for ours, theirs in _RENAMED.items()},
    "end_id": "options",
    "stop_words": "stop",
    "guided_decoding_guide_type": "format",
    "guided_decoding_guide": "format",
    "prompt": "messages",
}
_MACHINE = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa", "low_vram"),
    *("f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only"),
)
"""Options about Ollama's own loading of models; these are loaded."""


async def chat(door: Door, request: Request) -> Response:
    """Answer a chat as Ollama does."""
    try:
        body, model = await _read(door, request)
        messages.require_template(model, GENERATE_PATH)
        offer = offers.take(model, body)
        past = _past(body)
        if not past:
            return _loaded(body, model, offer)
        prompt = messages.take(Body({"messages": past}), offer.tools, offer.told)
        return await _answer(door, request, body, model, {"messages": prompt}, offer)
    except ApiError as error:
        return refusal(error)


async def generate(door: Door, request: Request) -> Response:
    """Answer a prompt as Ollama does: as a chat of one message, unless `raw`."""
    try:
        body, model = await _read(door, request)
        prompt, system = body.text("prompt"), body.text("system")
        if not prompt:
            return _loaded(body, model, None)
        if body.flag("raw") or not model.chats:
            if system:
                raise unsupported("system", "the prompt is taken as it stands")
            asked = {"text_input": prompt}
        else:
            told = [{"role": "system", "content": system}] if system else []
            told.append({"role": "user", "content": prompt})
            asked = {"messages": messages.take(Body({"messages": told}))}
        return await _answer(door, request, body, model, asked, None)
    except ApiError as error:
        return refusal(error)


def _loaded(body: Body, model: Served, offer: Offer | None) -> Response:
    """Answer who asks without a question, as Ollama's clients do to have a model loaded: it is."""
    _asked(model, body, {}, offer)
    body.flag("raw")
    body.ignore(("keep_alive",))
    body.end()
    return Response(Writer(model, offer).loaded(), media_type="application/json")


async def tags(door: Door, request: Request) -> Response:
    """Tell which models answer."""
    try:
        await door.require_triton()
    except ApiError as error:
        return refusal(error)
    told = [
        {"name": one.name, "model": one.name, "modified_at": _time(one.created), "details": {}}
        for one in (*door.models(), *door.aliases())
        if one.kind == CHAT
    ]
    return Response(orjson.dumps({"models": told}), media_type="application/json")


async def version(door: Door, request: Request) -> Response:
    """Tell which gateway this is."""
    return Response(orjson.dumps({"version": builder.__version__}), media_type="application/json")


def refusal(error: ApiError) -> Response:
    """Return an error in Ollama's shape."""
    told = orjson.dumps({"error": error.message})
    return Response(told, error.status, error.headers(), "application/json")


async def _read(door: Door, request: Request) -> tuple[Body, Served]:
    body = await bodies.read(request, door.settings.most_body_bytes)
    name = body.model()
    try:
        return body, await door.find(name, CHAT)
    except ApiError as error:
        if error.status != 404 or not name.endswith(LATEST):
            raise
    return body, await door.find(name.removesuffix(LATEST), CHAT)


async def _answer(
    door: Door, request: Request, body: Body, model: Served, prompt: dict[str, Any], offer: Offer | None
) -> Response:
    asked = _asked(model, body, prompt, offer)
    body.ignore(("keep_alive",))
    body.end()
    writer = Writer(model, offer)
    started = generation.start(door, asked)
    if asked.stream:
        return Lines(started, writer)
    (pieces,) = await sse.unless_gone(request.receive, started)
    return Response(writer.whole(pieces, started.usage.told()), media_type="application/json")


def _asked(model: Served, body: Body, prompt: dict[str, Any], offer: Offer | None) -> Asked:
    if body.take("think", bool, str) and not model.reasons:
        raise unsupported("think", f"the model '{model.name}' tells of no reasoning")
    options = Body(_options(body))
    most = options.whole("max_tokens", -2, sampling.LARGEST)
    inputs = {**sampling.read(options), **_form(body)}
    options.end()
    if most is not None and most > 0:
        inputs["max_tokens"] = most
    if offer is not None and offer.tools and "guided_decoding_guide_type" in inputs:
        raise unsupported("format", "with 'tools' it would forbid every call")
    return Asked(
        model=model,
        prompts=[prompt],
        inputs=inputs,
        sequences=1,
        stream=body.flag("stream", True),
        tops=None,
        seconds=None,
        names=_NAMES,
        reasons=model.reasons,
    )


def _options(body: Body) -> dict[str, Any]:
    given = body.take("options", dict) or {}
    return {_RENAMED.get(name, name): value for name, value in given.items() if name not in _MACHINE}


def _form(body: Body) -> dict[str, str]:
    """Return what an answer must be: "json", or a schema."""
    form = body.take("format", str, dict)
    if not form:
        return {}
    if isinstance(form, dict):
        return sampling.guide("format", {"type": "json_schema", "json_schema": {"schema": form}})
    if form != "json":
        raise invalid("format", "'format' must be json or a schema", "invalid_value")
    return sampling.guide("format", {"type": "json_object"})


def _past(body: Body) -> list[Any]:
    """Return the messages in OpenAI's form: calls and results have no ids here."""
    told = body.need("messages", list)
    return [
        {"tool_call_id": clean("messages", str(one.get("tool_name", ""))), **one}
        if isinstance(one, dict) and one.get("role") == "tool"
        else one
        for one in told
    ]


class Lines(sse.EventStream):
    """A stream of JSON, an object on each line."""

    kind = b"application/x-ndjson"
    keep_alive = b""

    def refusal(self, error: ApiError) -> Response:
        """Return the response of an error before the first line."""
        return refusal(error)


class Writer:
    """The lines of one answer, or its whole; of a chat where there is an offer."""

    def __init__(self, model: Served, offer: Offer | None) -> None:
        self._model = model.name
        self._is_chat = offer is not None
        readers: Readers | None = offer.readers if offer is not None else None
        self._reader = readers() if readers is not None else None
        self._begun = time.monotonic()
        self._first = 0.0
        self._reason = ""
        self._calls: list[Delta] = []

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return the lines that a piece makes."""
        text, thought = self._read(piece)
        made = self._line(text, thought) if text or thought else b""
        if piece.reason and (calls := self._called()):
            made += self._line("", "", tool_calls=calls)
        return made

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the line that ends an answer."""
        return self._line("", "", **self._end(usage))

    def loaded(self) -> bytes:
        """Return the answer to no question."""
        self._reason = "load"
        return self.last({"prompt_tokens": 0, "completion_tokens": 0})

    def failed(self, error: ApiError) -> bytes:
        """Return an error as the last line."""
        return orjson.dumps({"error": error.message}) + b"\n"

    def whole(self, pieces: Sequence[Piece], usage: Mapping[str, int]) -> bytes:
        """Return the answer as one object."""
        read = [self._read(piece) for piece in pieces]
        calls = self._called()
        return self._line(
            "".join(text for text, _ in read),
            "".join(thought for _, thought in read),
            **({"tool_calls": calls} if calls else {}),
            **self._end(usage),
        )

    def _read(self, piece: Piece) -> tuple[str, str]:
        """Return the text and the reasoning of a piece; calls are kept until they are whole."""
        self._first = self._first or time.monotonic()
        self._reason = piece.reason or self._reason
        if self._reader is None:
            return piece.text, piece.reasoning
        deltas = [*self._reader.push(piece.text), *(self._reader.end() if piece.reason else ())]
        self._calls += [delta for delta in deltas if "tool_calls" in delta]
        return "".join(delta.get("content", "") for delta in deltas), piece.reasoning

    def _called(self) -> list[dict[str, Any]]:
        """Return the calls that are whole."""
        calls = []
        for call in message(self._calls).get("tool_calls", ()):
            try:
                arguments = json.loads(call["function"]["arguments"])
            except ValueError:
                continue  # cut off by the end of the answer
            calls.append({"function": {"name": call["function"]["name"], "arguments": arguments}})
        return calls

    def _line(self, text: str, thought: str, **more: Any) -> bytes:
        told: dict[str, Any] = {"model": self._model, "created_at": _time(time.time()), "done": False}
        thinking = {"thinking": thought} if thought else {}
        if self._is_chat:
            calls = {"tool_calls": more.pop("tool_calls")} if "tool_calls" in more else {}
            told["message"] = {"role": "assistant", "content": text, **thinking, **calls}
        else:
            told |= {"response": text, **thinking}
        return orjson.dumps({**told, **more}) + b"\n"

    def _end(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """Return how the answer ended; durations are in nanoseconds."""
        now = time.monotonic()
        first = self._first or now
        return {
            "done": True,
            "done_reason": self._reason or "stop",
            "total_duration": _nanoseconds(now - self._begun),
            "load_duration": 0,
            "prompt_eval_count": usage["prompt_tokens"],
            "prompt_eval_duration": _nanoseconds(first - self._begun),
            "eval_count": usage["completion_tokens"],
            "eval_duration": _nanoseconds(now - first),
        }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
