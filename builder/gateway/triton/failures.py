"""What Triton and its models say when they refuse, told apart once.

An error in a stream carries its text and no status code: the header that asks Triton for codes makes it
crash before 26.04. So the texts are read here; they are those of backends/ and of Triton's own core.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any


class Kind(Enum):
    """Why an answer could not be given."""

    INVALID = auto()
    """The request is wrong; asking again changes nothing."""
    UNKNOWN_MODEL = auto()
    OVERLOADED = auto()
    """All places are taken; a little later there may be one."""
    UNAVAILABLE = auto()
    """Triton or the model cannot be asked now."""
    DEADLINE = auto()
    INTERNAL = auto()


LOST = "the server behind this gateway cannot be reached: try again in a moment"
CUT = "the server went away in the middle of the answer"


class Failure(Exception):
    """An answer that could not be given: its kind, and a text for the client."""

    def __init__(self, kind: Kind, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)

    @property
    def is_triton_gone(self) -> bool:
        """Say whether it is Triton that was lost, and not one of its models that cannot answer."""
        return self.kind is Kind.UNAVAILABLE and self.text in (LOST, CUT)


_TEXTS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (Kind.OVERLOADED, r"try again later|exceeds maximum queue size"),
        (Kind.DEADLINE, r"request timeout expired"),
        (Kind.UNKNOWN_MODEL, r"unknown model"),
        (
            Kind.UNAVAILABLE,
            r"server is shutting down|engine has failed|not at ready state|is not ready|not healthy"
            r"|stub process|is stopping|has no available versions",
        ),
        # the front names the class of what it did not expect to raise
        (Kind.INTERNAL, r"^\w*(Error|Exception|Interrupt): |internal"),
    )
)


_TRANSPORT = re.compile(r"stream removed|rst_stream|socket closed|connection reset|goaway", re.IGNORECASE)
"""gRPC's words for a connection that broke, which come with several codes."""


def of_text(text: str) -> Failure:
    """Return the failure that an error message of a model or of Triton tells of."""
    kind = next((kind for kind, pattern in _TEXTS if pattern.search(text)), Kind.INVALID)
    return Failure(kind, text)


def of_call(error: Any) -> Failure:
    """Return the failure of a gRPC call, an AioRpcError, by its text and its status code."""
    failure = of_status(error.code().value[0], error.details() or "")
    assert failure is not None
    return failure


def of_status(number: int, text: str) -> Failure | None:
    """Return the failure that a status of gRPC tells of by its number and its text, None for OK."""
    import grpc

    code = next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        return None
    told = of_text(text or code.name)
    if told.kind in (Kind.OVERLOADED, Kind.UNKNOWN_MODEL):
        return told
    lost = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    if lost or _TRANSPORT.search(told.text):
        # its details name addresses and sockets, which are none of a client's business
        return told if told.kind is Kind.DEADLINE else Failure(Kind.UNAVAILABLE, LOST)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(Kind.DEADLINE, "Request timeout expired")
    if code is grpc.StatusCode.NOT_FOUND:
        return Failure(Kind.UNKNOWN_MODEL, told.text)
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return Failure(Kind.INTERNAL, told.text)
    return told
