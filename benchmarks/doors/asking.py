"""Streamed chats over plain sockets: no client library's time is in what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

MODEL = "instant"
# the model's word as the events of either door hold it
_WORD = b'" tok"'
_END = b"data: [DONE]"
_SECONDS = 120.0
_MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


@dataclass
class Heard:
    """What came of some chats.

    Args:
        tokens: of all answers that were whole.
        firsts: seconds to the first word of each.
        betweens: seconds from a word to the next, the mean of each answer.
        errors: what went wrong, how often.
    """

    tokens: int = 0
    firsts: list[float] = field(default_factory=list)
    betweens: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


async def many(port: int, streams: int, tokens: int, rounds: int = 1) -> Heard:
    """Hold so many streams at once, each asking `rounds` times; an answer that is not whole is an error."""
    heard = Heard()

    async def go_on() -> None:
        for _ in range(rounds):
            await one(port, tokens, heard)

    await asyncio.gather(*(go_on() for _ in range(streams)))
    return heard


async def one(port: int, tokens: int, heard: Heard) -> None:
    """Ask for one answer and note it."""
    try:
        async with asyncio.timeout(_SECONDS):
            first, last, answer = await _answer(port, tokens)
    except (OSError, TimeoutError) as error:
        heard.errors[type(error).__name__] += 1
        return
    found = answer.count(_WORD)
    if not answer.startswith(b"HTTP/1.1 200") or _END not in answer or found != tokens:
        heard.errors[answer[:200].decode("latin-1")] += 1
        return
    heard.tokens += found
    heard.firsts.append(first)
    if tokens > 1:
        heard.betweens.append((last - first) / (tokens - 1))


async def _answer(port: int, tokens: int) -> tuple[float, float, bytes]:
    """Return seconds from the sent request to the first word and to the last, and the whole response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(port, tokens))
        sent, first, last, parts, held = time.perf_counter(), 0.0, 0.0, [], b""
        while data := await reader.read(2**16):
            parts.append(data)
            now = time.perf_counter() - sent
            if not first:
                held += data
                first = now if _WORD in held else 0.0
            if _WORD in data:
                last = now
        return first, last, b"".join(parts)
    finally:
        writer.close()


def _request(port: int, tokens: int) -> bytes:
    fields = {"model": MODEL, "messages": _MESSAGES, "max_tokens": tokens, "stream": True}
    body = json.dumps(fields).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + body
