"""The small HTTP client, against a server that says what it is told to, byte for byte."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from builder.measuring.connections import Connections
from builder.measuring.errors import Refused

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"

Script = list[list[bytes]]
"""What to say on each connection, to one request after the other; then it is closed."""


def against(script: Script, ask: Callable[[Connections], Awaitable[None]]) -> int:
    """Run `ask` against the script and return how many connections it took."""
    opened = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for said in script[opened - 1]:
            await reader.readexactly(len(REQUEST))
            # in pieces, as a network may
            for place in range(0, len(said), 7):
                writer.write(said[place : place + 7])
                await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        connections = Connections(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            await ask(connections)
        finally:
            await connections.close()
            server.close()

    asyncio.run(run())
    return opened


def require(script: Script, *expected: tuple[int, bytes]) -> int:
    async def ask(connections: Connections) -> None:
        for one in expected:
            assert await connections.exchange(REQUEST) == one

    return against(script, ask)


def test_a_connection_is_used_again() -> None:
    assert require([[GOOD] * 3], *[(200, b"done")] * 3) == 1


def test_a_refusal_is_an_answer() -> None:
    said = b"HTTP/1.1 400 Bad Request\r\ncontent-length:2\r\n\r\nno"
    assert require([[said, GOOD]], (400, b"no"), (200, b"done")) == 1


def test_a_body_may_come_in_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = chunked + b"3;note=x\r\ndon\r\nA\r\n0123456789\r\n0\r\nAfter: x\r\n\r\n"
    assert require([[said, GOOD]], (200, b"don0123456789"), (200, b"done")) == 1


def test_a_body_may_be_empty() -> None:
    assert require([[b"HTTP/1.1 204 No Content\r\n\r\n", GOOD]], (204, b""), (200, b"done")) == 1


def test_a_server_may_want_a_new_connection() -> None:
    said = b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"
    assert require([[said], [GOOD]], (200, b""), (200, b"done")) == 2


def test_a_connection_that_closed_while_idle_is_no_error() -> None:
    assert require([[GOOD], [GOOD], [GOOD]], *[(200, b"done")] * 3) == 3


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (b"", "disconnected before its answer ended"),
        (GOOD[:-1], "disconnected before its answer ended"),
        (b"\x00\x00\x06\x04\x00\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 two\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "does not speak HTTP"),
        (b"x" * 100_000, "does not speak HTTP"),
    ],
)
def test_what_is_no_answer_is_an_error(said: bytes, refused: str) -> None:
    async def ask(connections: Connections) -> None:
        with pytest.raises(Refused, match=refused):
            await connections.exchange(REQUEST)

    assert against([[said]], ask) == 1


def test_nobody_listening_is_named() -> None:
    with pytest.raises(Refused, match=re.escape("Cannot connect to 127.0.0.1:9")):
        asyncio.run(Connections("127.0.0.1:9").exchange(REQUEST))


def test_an_exchange_that_is_given_up_closes_its_connection() -> None:
    """The next one must not read the answer to the one before."""

    async def ask(connections: Connections) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connections.exchange(REQUEST), 0.2)
        assert await connections.exchange(REQUEST) == (200, b"done")

    assert against([[b"", GOOD], [GOOD]], ask) == 2


def test_several_at_once_have_a_connection_each() -> None:
    async def ask(connections: Connections) -> None:
        found = await asyncio.gather(*(connections.exchange(REQUEST) for _ in range(5)))
        assert found == [(200, b"done")] * 5

    assert against([[GOOD]] * 5, ask) == 5
