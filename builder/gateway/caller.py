"""Who asks: what a guard knows of a request, and what its endpoint notes for the guard.

It goes with the task that answers, so that no endpoint passes it on; without a guard there is none.
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
class Caller:
    """The caller of one request.

    Args:
        models: those that exist for it; None for all.
        model: the one it asked, once that was found.
        usage: counts what it takes.
        failed: the status of an error that came after the answer's own status had been sent.
    """

    models: frozenset[str] | None = None
    model: str = ""
    usage: Counted | None = None
    failed: int | None = None

    def may_see(self, model: str) -> bool:
        """Say whether a model exists for this caller."""
        return self.models is None or model in self.models


_CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


def enter(caller: Caller) -> None:
    """Make this the caller of what the task does from now on."""
    _CALLER.set(caller)


def current() -> Caller | None:
    """Return the caller, None where nobody guards."""
    return _CALLER.get()
