"""POST /v1/chat/completions (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, errors, generation, logprobs, messages, offers, sampling, sse
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.calls import Delta, Reader, Readers, message
from builder.gateway.protocol.envelopes import MARK, Envelope
from builder.gateway.protocol.errors import ApiError, invalid, unsupported
from builder.gateway.protocol.generation import Asked
from builder.gateway.protocol.offers import Offer
from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.served import CHAT, Served

PATH = "/v1/chat/completions"


async def answer(door: Door, request: Request) -> Response:
    """Answer a chat. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), CHAT)
    messages.require_template(model, "/v1/completions")
    offer = offers.take(model, body)
    asked, tells_usage = read(model, body, offer, sampling.timeout(body, request.headers))
    kind = "chat.completion.chunk" if asked.stream else "chat.completion"
    writer = Writer(asked, Envelope("chatcmpl", kind, model.name, tells_usage), offer.readers)
    started = generation.start(door, asked)
    if asked.stream:
        return sse.EventStream(started, writer)
    answers = await sse.unless_gone(request.receive, started)
    return Response(writer.whole(answers, started.usage.told()), media_type="application/json")


def read(model: Served, body: Body, offer: Offer, seconds: float | None) -> tuple[Asked, bool]:
    """Return what is asked for, and whether a stream tells its usage. Raises ApiError."""
    prompt = messages.take(body, offer.tools, offer.told)
    limits = sampling.longest(body, "max_completion_tokens", "max_tokens")
    inputs = {**_sampled(body, offer), **offer.inputs}
    if limits.tokens is not None:
        inputs["max_tokens"] = limits.tokens
    stream, tells_usage = stream_options(body)
    tops = _tops(body)
    asked = Asked(
        model=model,
        prompts=[{"messages": prompt}],
        inputs=inputs,
        sequences=sampling.sequences(body),
        stream=stream,
        tops=tops,
        seconds=seconds,
        names={**sampling.NAMES, "max_tokens": limits.name, "prompt": "messages", **offer.names},
        reasons=model.reasons,
    )
    body.ignore(sampling.IGNORED)
    _refuse_what_costs(body)
    body.end()
    return asked, tells_usage


def _sampled(body: Body, offer: Offer) -> dict[str, Any]:
    inputs = sampling.read(body)
    if offer.tools and "guided_decoding_guide_type" in inputs:
        why = "with 'tools' it would forbid every call; 'tool_choice': 'none' allows it"
        raise unsupported("response_format", why)
    return inputs


def stream_options(body: Body) -> tuple[bool, bool]:
    """Return whether to stream, and whether the stream tells its usage."""
    stream = body.flag("stream")
    options = body.take("stream_options", dict)
    if options is None:
        return stream, False
    if not stream:
        raise invalid("stream_options", "'stream_options' is for 'stream': true", "invalid_value")
    inner = Body(options)
    tells = inner.flag("include_usage")
    inner.ignore(("include_obfuscation",))  # of no use where TLS is not ours
    inner.end()
    return stream, tells


def _tops(body: Body) -> int | None:
    wanted = body.flag("logprobs")
    tops = body.whole("top_logprobs", 0, sampling.TOPS)
    if tops and not wanted:
        raise invalid("top_logprobs", "'top_logprobs' needs 'logprobs': true", "invalid_value")
    return (tops or 0) if wanted else None


def _refuse_what_costs(body: Body) -> None:
    """Take what has an effect only with other values than these."""
    for name, harmless in (("store", False), ("modalities", ["text"])):
        value = body.take(name, type(harmless))
        if value is not None and value != harmless:
            raise unsupported(name, f"only {bodies.shown(harmless)} is taken")


class Writer:
    """The chunks of a chat, or its whole."""

    def __init__(self, asked: Asked, envelope: Envelope, readers: Readers | None) -> None:
        self._texts = asked.model.token_texts
        self._tells_log_probs = asked.tops is not None
        self._envelope = envelope
        self._readers = readers
        self._reader: dict[int, Reader] = {}
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return the chunks that a piece makes: the role before the first, the reason by itself."""
        around = self._around.get(answer)
        made = b""
        if around is None:
            around, made = self._begin(answer)
        if self._readers is None and not self._tells_log_probs and not piece.reasoning:
            if piece.text:
                made += around[0] + orjson.dumps(piece.text) + around[1]
            reason = piece.reason
        else:
            made += b"".join([self._chunk(answer, *one) for one in self._deltas(answer, piece)])
            reason = self._reason(answer, piece)
        return made + self._chunk(answer, {}, None, reason) if reason else made

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the chunk that tells the usage, if one is wanted, and the end."""
        return self._envelope.last(usage) + sse.DONE

    def failed(self, error: ApiError) -> bytes:
        """Return an error as the last event."""
        return errors.event(error)

    def whole(self, answers: Sequence[Sequence[Piece]], usage: dict[str, int]) -> bytes:
        """Return the answers as one body."""
        return self._envelope.whole([self._choice(*one) for one in enumerate(answers)], usage)

    def _choice(self, answer: int, pieces: Sequence[Piece]) -> dict[str, Any]:
        found = [delta for piece in pieces for delta in self._deltas(answer, piece)]
        told = [one["content"] for _, one in found if one]
        log_probs = {"content": [token for one in told for token in one], "refusal": None}
        return {
            "index": answer,
            "message": message([delta for delta, _ in found]) | {"refusal": None},
            "logprobs": log_probs if self._tells_log_probs else None,
            "finish_reason": self._reason(answer, pieces[-1]),
        }

    def _deltas(self, answer: int, piece: Piece) -> list[tuple[Delta, dict[str, Any] | None]]:
        """Return what a piece adds, and the log probabilities that go with it."""
        told = logprobs.chat(piece, self._texts) if self._tells_log_probs else None
        # DeepSeek's name, which the field took over: OpenAI's API shows no reasoning
        deltas: list[Delta] = [{"reasoning_content": piece.reasoning}] if piece.reasoning else []
        deltas += self._read(answer, piece)
        if told and not deltas:
            deltas = [{"content": ""}]
        return [(delta, None if place else told) for place, delta in enumerate(deltas)]

    def _read(self, answer: int, piece: Piece) -> Sequence[Delta]:
        if self._readers is None:
            return [{"content": piece.text}] if piece.text else []
        if answer not in self._reader:
            self._reader[answer] = self._readers()
        reader = self._reader[answer]
        return [*reader.push(piece.text), *(reader.end() if piece.reason else ())]

    def _reason(self, answer: int, piece: Piece) -> str:
        reader = self._reader.get(answer)
        return reader.finish_reason(piece.reason) if reader and piece.reason else piece.reason

    def _begin(self, answer: int) -> tuple[tuple[bytes, bytes], bytes]:
        choice = {"index": answer, "delta": {"content": MARK}, "logprobs": None, "finish_reason": None}
        around = self._around[answer] = self._envelope.around_text(choice, MARK)
        return around, self._chunk(answer, {"role": "assistant", "content": ""})

    def _chunk(
        self, answer: int, delta: Any, told: dict[str, Any] | None = None, reason: str | None = None
    ) -> bytes:
        choice = {"index": answer, "delta": delta, "logprobs": told, "finish_reason": reason}
        return self._envelope.event(choice)
