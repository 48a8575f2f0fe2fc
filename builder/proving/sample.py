"""The words that the files of `samples/` are written in: cases for the graph, questions for the front."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Asked:
    """What the child process is asked: a plan and an artifact as far as a proof needs them.

    `source` is the checkpoint as its exporter reads it; `settings` are the artifact's.
    """

    name: str
    pipeline: str
    samples: str
    main: str
    exporter: str
    model_type: str
    model: Path
    tokenizer: Path
    source: Path
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    truncates: bool
    max_batch_size: int
    provider: str
    out: Path

    @property
    def most(self) -> int:
        """Return the most tokens that a text may have."""
        return int(self.settings["max_tokens"])

    @property
    def labels(self) -> list[str]:
        return list(self.settings["labels"])


@dataclass(frozen=True)
class Case:
    """One input of the graph, whatever it is, and the source's answer to it in float32."""

    id: str
    given: Any
    expected: Array


@dataclass(frozen=True)
class Samples:
    """All that one sort of input is proven by.

    `asks` and `refuses` are entries of golden.json, in the front's own tensors. `texts` are the cases of
    real texts, whose likeness to each other an embedding must keep. `scale` is there for answers in units of
    their own: an error in each of their numbers counts as a share of it. `decided` has for the cases that the
    source is certain of what it decides for; the graph says so in its output `decision`, for each row one.
    """

    cases: Sequence[Case]
    asks: Sequence[Mapping[str, Any]]
    refuses: Sequence[Mapping[str, Any]] = ()
    texts: Sequence[Case] = field(default=())
    scale: Array | None = None
    decision: str = ""
    decided: Mapping[str, Any] = field(default_factory=dict)


class Sampling(Protocol):
    """What each file of `samples/` offers."""

    LAYOUTS: Sequence[str]
    """The ways in which a batch can be laid out, such as without and with padding."""

    def reference(self, asked: Asked) -> str:
        """Return who answered for the source."""
        ...

    def samples(self, asked: Asked) -> Samples:
        """Make the inputs and ask the source for its answers."""
        ...

    def feeds(self, cases: Sequence[Case], layout: str) -> dict[str, Array]:
        """Return the graph's inputs for one batch."""
        ...

    def split(self, output: Array, cases: Sequence[Case]) -> list[Array]:
        """Return each case's share of the graph's first output."""
        ...


def lengths(most: int) -> list[int]:
    """Return the lengths of a sweep from 1 to `most`: all small ones, and what lies around powers of two."""
    around = (2**power + step for power in range(4, 16) for step in (-1, 0, 1))
    return sorted({length for length in (*range(1, 17), *around, most - 1, most) if 1 <= length <= most})


def plain(array: Array, digits: int = 7) -> list[Any]:
    """Return numbers as JSON would hold them."""
    found: list[Any] = np.asarray(array, dtype=np.float64).round(digits).tolist()
    return found


def transformers_reference() -> str:
    """Return the reference of a source that transformers answers for."""
    return f"transformers {importlib.metadata.version('transformers')} float32"
