"""Connections: HTTP/1.1 with next to no work per request, for answers that take a millisecond.

aiohttp takes a quarter of a millisecond of processor time for one, which the server on the same machine
then lacks; a request whose bytes are ready and an answer that nobody looks into need a tenth of that.
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter

from builder.measuring.errors import Refused, quoted

_END = b"\r\n\r\n"


class Connections:
    """Keeps as many connections to one address as there are requests at once."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._address = host.strip("[]"), int(port), address
        self._idle: list[tuple[StreamReader, StreamWriter]] = []

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and return status and body; raise Refused when no answer comes."""
        while True:
            reused = bool(self._idle)
            reader, writer = self._idle.pop() if reused else await self._opened()
            try:
                writer.write(request)
                status, body, kept = await _response(reader)
            except BaseException as failure:
                writer.close()
                lost = isinstance(failure, ConnectionError | asyncio.IncompleteReadError)
                # a server may close an idle connection at the moment it is used: that is no answer of its
                if lost and reused:
                    continue
                if isinstance(failure, OSError | EOFError | ValueError | asyncio.LimitOverrunError):
                    raise Refused(self._told(failure)) from None
                raise
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
            return status, body

    async def close(self) -> None:
        """Close those that nobody uses; the others end with their requests."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _opened(self) -> tuple[StreamReader, StreamWriter]:
        try:
            return await asyncio.open_connection(self._host, self._port)
        except OSError as failure:
            raise Refused(f"Cannot connect to {self._address}: {failure.strerror or failure}") from None

    def _told(self, failure: Exception) -> str:
        if isinstance(failure, OSError | EOFError):
            return f"the server at {self._address} disconnected before its answer ended"
        return f"the server at {self._address} does not speak HTTP: {quoted(failure)}"


async def _response(reader: StreamReader) -> tuple[int, bytes, bool]:
    """Return status, body, and whether the connection can be used again."""
    first, _, rest = (await reader.readuntil(_END)).partition(b"\r\n")
    if not first.startswith(b"HTTP/1."):
        raise ValueError(first.decode(errors="replace"))
    fields = dict(_field(line) for line in rest.splitlines() if line)
    if fields.get(b"transfer-encoding", b"identity").lower() != b"identity":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return int(first.split(maxsplit=2)[1]), body, fields.get(b"connection", b"").lower() != b"close"


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


async def _chunks(reader: StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass  # fields after the body
    return b"".join(chunks)
