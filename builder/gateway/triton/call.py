"""One call whose answer streams: messages out of the frames that hold them, only as fast as they are wanted.

Form of a message: a byte, its length in 4 bytes, big-endian, and so many bytes
(github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message").
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote

from builder.gateway.triton import failures
from builder.gateway.triton.failures import Failure, Kind

WINDOW = 2**18
"""Bytes of an answer that Triton may send before somebody takes them."""
_HEADER = 5


class Listener(Protocol):
    """Hears one call."""

    def heard(self, message: bytes) -> None:
        """Take one message, as protobuf has serialised it."""
        ...

    def ended(self, failure: Failure | None) -> None:
        """Take the end: nothing follows. A call that was cancelled is not told of any."""
        ...


class Carrier(Protocol):
    """What carries calls."""

    def widen(self, number: int, size: int) -> None:
        """Let the server send so many bytes more of a call."""
        ...

    def cancel(self, call: Call) -> None:
        """Stop a call on the server; of no effect once it has ended."""
        ...


class Call:
    """One call under way; `body` is what it sends."""

    def __init__(self, carrier: Carrier, number: int, body: bytes, listener: Listener) -> None:
        self.number = number
        self.unsent = memoryview(body)
        self.listener = listener
        self.headers: dict[str, str] = {}
        """Those that came last: the trailers once it has ended."""
        self.untold = 0
        """Bytes that the server does not know to be taken yet."""
        self._carrier = carrier
        self._kept: list[bytes] = []
        """The beginning of a message, in parts."""
        self._lacking = 0
        self._has_begun = False

    def take(self, data: bytes) -> None:
        """Take the contents of a frame, which may end anywhere in a message."""
        self._has_begun = True
        if self._kept:
            self._kept.append(data)
            self._lacking -= len(data)
            if self._lacking > 0:
                if self._lacking + sum(map(len, self._kept)) > WINDOW // 2:
                    self.go_on()  # nobody can take it before it is whole
                return
            data = b"".join(self._kept)
            self._kept.clear()
        place, length = 0, len(data)
        while place < length:
            after = start = place + _HEADER
            if start <= length:
                after += int.from_bytes(data[place + 1 : start], "big")
            if after > length:
                self._kept.append(data[place:])
                self._lacking = after - length
                return
            self.listener.heard(data[start:after])
            place = after

    def go_on(self) -> None:
        """Let as much again be sent as was taken; without it an answer stands still after WINDOW bytes."""
        if self.untold >= WINDOW // 2:
            self._carrier.widen(self.number, self.untold)
            self.untold = 0

    def cancel(self) -> None:
        """Stop it on the server; of no effect once it has ended."""
        self._carrier.cancel(self)

    def ended(self) -> Failure | None:
        """Return what its end tells."""
        status = self.headers.get("grpc-status", "")
        if not status.isdecimal():
            return self.lost()
        return failures.of_status(int(status), unquote(self.headers.get("grpc-message", "")))

    def lost(self) -> Failure:
        """Return what it is to lose it now."""
        return Failure(Kind.UNAVAILABLE, failures.CUT if self._has_begun else failures.LOST)
