"""How often a connection that carries many calls is read, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from builder.gateway.triton import pacing
from builder.gateway.triton.pacing import MANY, Pace


class Reader(asyncio.Protocol):
    """Reads at the pace of so many calls, and notes when it read and what."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.reads: list[tuple[float, bytes]] = []
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pace = Pace(transport)

    def data_received(self, data: bytes) -> None:
        self.reads.append((asyncio.get_running_loop().time(), data))
        self.pace.keep(self.calls)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    @property
    def taken(self) -> bytes:
        return b"".join(data for _, data in self.reads)


@asynccontextmanager
async def connected(calls: int) -> AsyncIterator[tuple[Reader, asyncio.Transport, asyncio.StreamWriter]]:
    """A reader of so many calls, its transport, and who sends to it."""
    sending: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: sending.put_nowait(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(lambda: Reader(calls), "127.0.0.1", port)
    writer = await sending.get()
    try:
        yield reader, transport, writer
    finally:
        transport.abort()
        writer.close()
        server.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> float:
    """A rest that no other work on this machine can be taken for."""
    monkeypatch.setattr(pacing, "REST_SECONDS", 0.5)
    return 0.5


def test_many_calls_are_read_together_after_a_rest(long_rest: float) -> None:
    async def read() -> None:
        async with connected(MANY) as (reader, _, writer):
            writer.write(b"first")
            await until(lambda: reader.taken == b"first")
            for byte in b"others":
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
            await until(lambda: reader.taken == b"firstothers")
            (begun, _), (ended, together) = reader.reads
            assert ended - begun >= long_rest - 0.01
            assert together == b"others"

    uvloop.run(read())


def test_few_calls_are_read_as_they_come(long_rest: float) -> None:
    async def read() -> None:
        async with connected(MANY - 1) as (reader, transport, writer):
            for _ in range(4):
                before = len(reader.reads)
                writer.write(b"x")
                await until(lambda before=before: len(reader.reads) > before)  # type: ignore[misc]
                assert transport.is_reading()
            assert reader.taken == b"xxxx"

    uvloop.run(read())


def test_what_comes_after_a_pause_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "REST_SECONDS", 0.01)

    async def read() -> None:
        async with connected(MANY) as (reader, transport, writer):
            writer.write(b"one")
            await until(lambda: reader.taken == b"one")
            await until(transport.is_reading)
            monkeypatch.setattr(pacing, "REST_SECONDS", 60)
            writer.write(b"two")
            await until(lambda: reader.taken == b"onetwo")

    uvloop.run(read())


def test_a_connection_that_is_let_go_while_it_rests_stays_closed(
    long_rest: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        async with connected(MANY) as (reader, transport, writer):
            writer.write(b"x")
            await until(lambda: bool(reader.reads))
            transport.abort()
            writer.write(b"y")
            await asyncio.sleep(2 * long_rest)
            assert reader.is_lost
            assert reader.taken == b"x"
            reader.data_received(b"z")
            await asyncio.sleep(2 * long_rest)

    uvloop.run(read())
    assert not caplog.records


def test_an_end_that_comes_while_it_rests_is_heard_after_it(long_rest: float) -> None:
    async def read() -> None:
        async with connected(MANY) as (reader, _, writer):
            writer.write(b"x")
            await until(lambda: bool(reader.reads))
            writer.write(b"y")
            await writer.drain()
            writer.close()
            await until(lambda: reader.is_lost)
            assert reader.taken == b"xy"

    uvloop.run(read())
