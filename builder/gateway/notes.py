"""What is noted of one request under way: by the guard who may see what, by its endpoint what became of it.

It goes with the task that answers, so that no endpoint passes it on. Meters and accounts read it at the end.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


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
        model: the one that was asked, once it was found.
        usage: counts what the answer takes.
        failed: the status of an error, or of a client's leaving, after the answer's own status had been sent.
    """

    models: frozenset[str] | None = None
    model: str = ""
    usage: Counted | None = None
    failed: int | None = None

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
