"""POST /v1/responses (platform.openai.com/docs/api-reference/responses): text in, text out, nothing kept."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, generation, messages, responding, sampling, sse
from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.errors import invalid, unsupported
from builder.gateway.protocol.generation import Asked
from builder.gateway.triton.served import CHAT, Served

PATH = "/v1/responses"

_KEPT = "nothing is kept here: send the whole of a conversation as 'input'"
_UNSUPPORTED = {
    "previous_response_id": _KEPT,
    "conversation": _KEPT,
    "prompt": _KEPT,
    "response_format": "it is 'text': {'format': ...} here",
    "max_tokens": "it is 'max_output_tokens' here",
    "tools": "only text is answered here: /v1/chat/completions calls tools",
    "include": "",
    "reasoning": "",
}
_HARMLESS: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("store", (False,), _KEPT),
    ("background", (False,), _KEPT),
    ("truncation", ("disabled",), ""),
    ("tool_choice", ("auto", "none"), "there are no tools to choose from"),
    ("top_logprobs", (0,), ""),
)
"""Parameters that have an effect only with other values than these."""


async def answer(door: Door, request: Request) -> Response:
    """Answer a chat in the form of responses. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), CHAT)
    messages.require_template(model, "/v1/completions")
    told = {name: value for name in responding.ECHOED if (value := body.peek(name)) is not None}
    asked = _read(model, body, sampling.timeout(body, request.headers))
    writer = responding.Writer(model.name, told)
    started = generation.start(door, asked)
    if asked.stream:
        return sse.EventStream(started, writer)
    (pieces,) = await sse.unless_gone(request.receive, started)
    whole = writer.whole(pieces, started.usage.told())
    return Response(orjson.dumps(whole), media_type="application/json")


def _read(model: Served, body: Body, seconds: float | None) -> Asked:
    for name, why in _UNSUPPORTED.items():
        if body.peek(name) not in (None, [], {}):
            raise unsupported(name, why)
    body.ignore((*_UNSUPPORTED, "parallel_tool_calls"))
    for name, harmless, why in _HARMLESS:
        value = body.take(name, type(harmless[0]))
        if value is not None and value not in harmless:
            raise unsupported(name, why)
    prompt = _messages(body)
    limits = sampling.longest(body, "max_output_tokens")
    inputs = {**sampling.read(body), **_form(body)}
    if limits.tokens is not None:
        inputs["max_tokens"] = limits.tokens
    asked = Asked(
        model=model,
        prompts=[{"messages": prompt}],
        inputs=inputs,
        sequences=1,
        stream=_stream(body),
        tops=None,
        seconds=seconds,
        names=_NAMES,
    )
    body.ignore(sampling.IGNORED)
    body.end()
    return asked


_NAMES = {
    **sampling.NAMES,
    "guided_decoding_guide_type": "text.format",
    "guided_decoding_guide": "text.format",
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "prompt": "input",
}


def _messages(body: Body) -> str:
    """Return the front's `messages`."""
    given, instructions = body.need("input", str, list), body.text("instructions")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    plain = [_item(f"input[{place}]", item) for place, item in enumerate(given)]
    told = messages.checked("input", plain)
    if instructions:
        told = [{"role": "system", "content": instructions}, *told]
    return clean("input", messages.written(told))


def _item(place: str, item: Any) -> Any:
    """Return an item of the input as a message; what else it may be is left to the check of messages."""
    if not isinstance(item, dict):
        return item
    if item.get("type", "message") != "message":
        message = f"'{place}.type' must be message: only text is answered here"
        raise invalid(f"{place}.type", message, "unsupported_content")
    if item.get("role") == "tool":
        raise invalid(f"{place}.role", f"'{place}.role' must be system, developer, user or assistant")
    return {"role": item.get("role"), "content": item.get("content")}


def _form(body: Body) -> dict[str, str]:
    """Return what an answer must be, `text.format`: that of a chat without its inner object."""
    text = Body(body.take("text", dict) or {})
    form = text.take("format", dict)
    if (wordy := text.text("verbosity")) not in (None, "medium"):
        raise unsupported("text.verbosity", f"{wordy} cannot be asked of a model here")
    text.end()
    if form is not None and form.get("type") == "json_schema":
        form = {"type": "json_schema", "json_schema": form}
    return sampling.guide("text.format", form)


def _stream(body: Body) -> bool:
    stream, options = body.flag("stream"), Body(body.take("stream_options", dict) or {})
    options.ignore(("include_obfuscation",))  # of no use where TLS is not ours
    options.end()
    return stream
