"""A library that advances all its sequences at once, and in a process of its own (host.py).

The file of such an engine offers `stepper(settings, folder) -> Stepper` beside `create`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from backends.engine.protocol import Sampling, Top


class Progress(NamedTuple):
    """What a step brought one sequence; `failure` is (name of an EngineError, text for the client).

    `waited` is how many seconds it stood in the library's line, told once.
    """

    key: int
    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    finish_reason: str | None = None
    failure: tuple[str, str] | None = None
    waited: float | None = None
    tops: tuple[Top, ...] = ()

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None or self.failure is not None


@dataclass(frozen=True)
class Gauges:
    """What the library says of itself.

    Sequences, the share of the KV cache that they hold, and since the start the prompt tokens that were
    looked up in it and those that were found.
    """

    running: int = 0
    waiting: int = 0
    cache_used: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0


class Stepper(Protocol):
    """Used by one thread only, but for `wake`."""

    busy: bool
    """Whether a step would bring anything."""

    def add(self, key: int, ids: Sequence[int], sampling: Sampling) -> None:
        """Take a sequence; raise InvalidRequest for what the library refuses."""
        ...

    def score(self, key: int, ids: Sequence[int]) -> None:
        """Take a prompt, whose last Progress has as `log_probs` how likely each id after the first was."""
        ...

    def abort(self, keys: Sequence[int]) -> None:
        """End sequences, of which nothing more is heard; unknown keys are ignored."""
        ...

    def step(self) -> Sequence[Progress]:
        """Wait for the next step and return what it brought; raise when the library is beyond use."""
        ...

    def wake(self) -> None:
        """Let a step that waits return, with nothing if need be; for a thread beside that of the steps."""
        ...

    def gauges(self) -> Gauges:
        """Return the numbers as of the last step."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class StepperModule(Protocol):
    """What the file of an engine offers to host.py."""

    def stepper(self, settings: Mapping[str, Any], folder: Path) -> Stepper:
        """Load the model under `folder` as settings.json says."""
        ...


def joined(waiting: Sequence[Progress]) -> list[Progress]:
    """Return what waits with one Progress for each sequence, whose order is kept."""
    kept: dict[int, list[Progress]] = {}
    for progress in waiting:
        kept.setdefault(progress.key, []).append(progress)
    return [_one(parts) for parts in kept.values()]


def _one(parts: Sequence[Progress]) -> Progress:
    if len(parts) == 1:
        return parts[0]
    last = parts[-1]
    return Progress(
        last.key,
        tuple(token for part in parts for token in part.ids),
        tuple(value for part in parts for value in part.log_probs),
        last.finish_reason,
        last.failure,
        parts[0].waited,
        tuple(top for part in parts for top in part.tops),
    )
