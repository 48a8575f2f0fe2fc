"""POST /v1/completions (platform.openai.com/docs/api-reference/completions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from builder.gateway.door import Door
from builder.gateway.protocol import bodies, chat, errors, generation, logprobs, sampling, sse
from builder.gateway.protocol.bodies import Body
from builder.gateway.protocol.envelopes import MARK, Envelope
from builder.gateway.protocol.errors import ApiError, unsupported
from builder.gateway.protocol.generation import Asked
from builder.gateway.protocol.prompts import Prompt, prompts
from builder.gateway.triton import tokens
from builder.gateway.triton.failures import Failure
from builder.gateway.triton.hearing import Piece
from builder.gateway.triton.served import CHAT, Served

PATH = "/v1/completions"
NAMES = {**sampling.NAMES, "text_input": "prompt", "input_ids": "prompt", "top_logprobs": "logprobs"}


async def answer(door: Door, request: Request) -> Response:
    """Continue prompts. Raises ApiError."""
    body = await bodies.read(request, door.settings.most_body_bytes)
    model = await door.find(body.model(), CHAT)
    given = prompts(body, "prompt")
    echoes = body.flag("echo")
    asked, tells_usage = _read(model, body, given, sampling.timeout(body, request.headers))
    if echoes and asked.tops is not None:
        raise unsupported("logprobs", "with 'echo' they would be the prompt's too")
    shown = await _texts(door, model, given) if echoes else [""] * len(given)
    writer = Writer(asked, Envelope("cmpl", "text_completion", model.name, tells_usage), shown)
    started = generation.start(door, asked)
    if asked.stream:
        return sse.EventStream(started, writer)
    answers = await sse.unless_gone(request.receive, started)
    return Response(writer.whole(answers, started.usage.told()), media_type="application/json")


def _read(model: Served, body: Body, given: Sequence[Prompt], seconds: float | None) -> tuple[Asked, bool]:
    limits = sampling.longest(body, "max_tokens")
    inputs = sampling.read(body)
    if limits.tokens is not None:
        inputs["max_tokens"] = limits.tokens
    if not body.flag("add_special_tokens", True) and isinstance(given[0], str):
        inputs["add_special_tokens"] = False
    stream, tells_usage = chat.stream_options(body)
    sequences = sampling.sequences(body)
    if (best := body.whole("best_of", 1, sampling.SEQUENCES)) not in (None, sequences):
        raise unsupported("best_of", f"{best} answers would be made to give {sequences} of them")
    asked = Asked(
        model=model,
        prompts=[_inputs(prompt) for prompt in given],
        inputs=inputs,
        sequences=sequences,
        stream=stream,
        tops=body.whole("logprobs", 0, sampling.TOPS),
        seconds=seconds,
        names=NAMES,
    )
    body.ignore(sampling.IGNORED)
    body.end()
    return asked, tells_usage


def _inputs(prompt: Prompt) -> dict[str, Any]:
    return {"text_input": prompt} if isinstance(prompt, str) else {"input_ids": prompt}


async def _texts(door: Door, model: Served, given: Sequence[Prompt]) -> list[str]:
    """Return the prompts as the texts that go before their answers."""
    try:
        return [
            prompt if isinstance(prompt, str) else await tokens.text(door.connection, model, prompt)
            for prompt in given
        ]
    except Failure as failure:
        raise errors.of_failure(failure, {"output_ids": "prompt"}) from failure


class Writer:
    """The chunks of completions, or their whole."""

    def __init__(self, asked: Asked, envelope: Envelope, echoes: Sequence[str]) -> None:
        self._texts = asked.model.token_texts
        self._tops = asked.tops
        self._sequences = asked.sequences
        self._envelope = envelope
        self._echoes = echoes
        self._around: dict[int, tuple[bytes, bytes]] = {}
        self._lengths: dict[int, int] = {}

    def event(self, answer: int, piece: Piece) -> bytes:
        """Return the chunks that a piece makes; the reason comes with the last of the text."""
        text = piece.text
        around = self._around.get(answer)
        if around is None:
            around = self._begin(answer)
            text = self._echoes[answer // self._sequences] + text
        if self._tops is None and not piece.reason:
            return around[0] + orjson.dumps(text) + around[1] if text else b""
        told = self._told(answer, [piece]) if piece.ids else None
        return self._envelope.event(self._choice(answer, text, told, piece.reason or None))

    def last(self, usage: dict[str, int]) -> bytes:
        """Return the chunk that tells the usage, if one is wanted, and the end."""
        return self._envelope.last(usage) + sse.DONE

    def failed(self, error: ApiError) -> bytes:
        """Return an error as the last event."""
        return errors.event(error)

    def whole(self, answers: Sequence[Sequence[Piece]], usage: dict[str, int]) -> bytes:
        """Return the answers as one body."""
        choices = []
        for answer, pieces in enumerate(answers):
            text = self._echoes[answer // self._sequences] + "".join(piece.text for piece in pieces)
            told = self._told(answer, pieces)
            choices.append(self._choice(answer, text, told, pieces[-1].reason))
        return self._envelope.whole(choices, usage)

    def _told(self, answer: int, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        if self._tops is None:
            return None
        begin = self._lengths.get(answer, 0)
        told = logprobs.completion(pieces, self._texts, begin, self._tops)
        self._lengths[answer] = begin + sum(map(len, told["tokens"]))
        return told

    def _begin(self, answer: int) -> tuple[bytes, bytes]:
        choice = self._choice(answer, MARK, None, None)
        around = self._around[answer] = self._envelope.around_text(choice, MARK)
        return around

    def _choice(self, answer: int, text: str, told: Any, reason: str | None) -> dict[str, Any]:
        return {"index": answer, "text": text, "logprobs": told, "finish_reason": reason}
