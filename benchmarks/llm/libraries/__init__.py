"""What raw rows run on, one file each with `load(folder, arguments) -> Library`; `folder` is a version's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

Arrived = Iterable[tuple[str, Sequence[int], bool]]
"""Key of a request, the ids that came, whether they were its last."""


class Library(Protocol):
    """An engine; every answer is greedy and has exactly the tokens asked for."""

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """Return the answers to prompts that are asked at once."""
        ...

    def add(self, key: str, ids: Sequence[int], tokens: int) -> None:
        """Begin an answer."""
        ...

    def step(self) -> Arrived:
        """Wait for more of the answers that are under way."""
        ...

    def abort(self, keys: Sequence[str]) -> None:
        """End answers, of which nothing more is heard, and wait until nothing is under way."""
        ...

    def forget(self) -> None:
        """Empty the prefix cache, if there is one."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...
