"""The seam: a way to ask a server. What is heard is only kept, and read when the run is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from builder.measuring.asks import Inputs
from builder.measuring.bodies import Body

Heard = list[tuple[float, bytes]]
"""What arrived and when, in seconds of `time.perf_counter`; not looked at while the server works."""


@dataclass
class Answer:
    """When tokens arrived, and how many of them; responses without any are left out.

    `tokens` are whole numbers unless a server only says how many there were in all. `input_tokens`
    is None where the server does not count them. `error` says why what was heard is no answer.
    """

    seconds: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    input_tokens: float | None = None
    error: str = ""


class Door(Protocol):
    """One way to ask; many requests run through it at once."""

    async def ask(self, prompt: Any, heard: Heard) -> None:
        """Send one request and append whatever arrives to `heard`, until the answer has ended.

        A prompt is a text or chat messages, or the Body of a request to a model that answers once.

        Raises Refused; cancelling it tells the server that nobody listens any more.
        """

    def read(self, heard: Heard) -> Answer:
        """Return what was heard."""

    async def close(self) -> None:
        """Close every connection."""


class InferDoor(Door, Protocol):
    """A way to ask a model that answers once; what it hears is when the answer was there."""

    def prepare(self, inputs: Inputs, *, marks: bool) -> Body:
        """Return the request in bytes, so that this is not done while the clock runs."""
