"""The runtimes and servers that we are measured against, one file each, all with the same names.

    raw(settings) -> Generate         load, and return what generates one batch greedily
    serve(settings) -> (url, body)    serve /v1/chat/completions; `body` is what its requests must add

`settings` hold `threads` and whatever else workbench/lineup.py tries for the peer, and where the same
weights are: `model` (the folder of our artifact), `gguf` (a file) and `tokenizer` (a folder). A peer
runs in a process of its own: see __main__.py. These files carry their package's name, so they are
imported from the folder above, never from this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]


@dataclass(frozen=True)
class Generation:
    """What one batch gave; `first` is the `time.perf_counter()` moment at which its first id was known."""

    first: float
    tokens: int
    ids: list[list[int]]
    """Of every row; empty from a peer that tells only texts."""


def generation(first: float, ids: list[list[int]]) -> Generation:
    """Return the Generation of a peer that tells its ids."""
    return Generation(first, sum(map(len, ids)), ids)


Generate = Callable[[list[list[int]], int], Generation]
"""Prompts as ids, and how many ids to generate for each, end-of-text ignored."""
