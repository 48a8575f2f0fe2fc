"""What is read of an answer: plain text and tool calls, in the order in which the model wrote them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Text:
    """What the model said beside its calls."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """A call of a function; `index` counts the calls of one answer from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class Arguments:
    """The next piece of a call's arguments, which all together are the JSON text that the model wrote."""

    index: int
    text: str


Event = Text | CallBegun | Arguments


@dataclass(frozen=True)
class Call:
    """A whole call; `arguments` is JSON text, unfinished where the answer broke off in it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Guide:
    """What an answer must be: the front's guided_decoding_guide_type and guided_decoding_guide."""

    kind: str
    text: str


def gathered(events: Iterable[Event]) -> tuple[str, tuple[Call, ...]]:
    """Return all of the text, and all calls, of an answer that is not streamed."""
    text: list[str] = []
    begun: list[CallBegun] = []
    arguments: list[list[str]] = []
    for event in events:
        if isinstance(event, Text):
            text.append(event.text)
        elif isinstance(event, CallBegun):
            begun.append(event)
            arguments.append([])
        else:
            arguments[event.index].append(event.text)
    calls = (Call(one.id, one.name, "".join(told)) for one, told in zip(begun, arguments, strict=True))
    return "".join(text), tuple(calls)


def new_id() -> str:
    """Return an identifier as OpenAI's are: call_ and 24 letters or digits."""
    return f"call_{_random(24)}"


def new_short_id() -> str:
    """Return nine letters or digits: Mistral's templates refuse any other identifier."""
    return _random(9)


def _random(size: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(size))
