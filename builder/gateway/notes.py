"""What is noted of one request under way: by the guard who may see what, by its endpoint what became of it.

It goes with the task that answers, so that no endpoint passes it on. Meters and accounts read it at the end.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from builder.gateway.routing.way import Way
from builder.gateway.triton.failures import Failure


class Counted(Protocol):
    """What counts tokens while an answer is made; it is asked when the answer has ended."""

    def told(self) -> dict[str, int]:
        """Return {"prompt_tokens": ..., "completion_tokens": ...}, and more."""
        ...


@dataclass
class Notes:
    """Of one request.

    Args:
        models: those that exist for the caller; None for all.
        key: the id of the caller's, "" where none is asked for.
        user: of the caller, whom the request's body names.
        model: the one that was asked, once it was found.
        way: the models that the name which was asked leads to, where it is a route's.
        failure: why a model could not answer.
        first: the moment of the first event of a stream, by the monotonic clock.
        usage: counts what the answer takes.
        failed: the status of an error, or of a client's leaving, after the answer's own status had been sent.
    """

    models: frozenset[str] | None = None
    key: str = ""
    user: str = ""
    model: str = ""
    way: Way | None = None
    failure: Failure | None = None
    first: float | None = None
    usage: Counted | None = None
    failed: int | None = None

    @property
    def asker(self) -> str:
        """Return who asks, as far as anybody said; "" for nobody in particular."""
        return " ".join(filter(None, (self.key, self.user)))

    def may_see(self, model: str) -> bool:
        """Say whether a model exists for the caller."""
        return self.models is None or model in self.models


_NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)


def begin() -> Notes:
    """Return new notes, which are those of all that this task does from now on."""
    notes = Notes()
    _NOTES.set(notes)
    return notes


def current() -> Notes:
    """Return the notes of this task's request; those that nobody began nobody reads."""
    return _NOTES.get() or Notes()
