"""What weights of an artifact are really kept in, tensor by tensor, and what stands in for what was asked.

Each file of `artifact_formats/` reads one format and is named by how its files end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from builder import house
from builder.errors import ConversionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Kept:
    """A tensor as it lies in a file.

    `shape` is that of its numbers, rows first, and `size` its bytes with those of its scales. Only a matrix
    is what a quantization speaks of: `is_matrix` is false for norms, biases and tables that are computed.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    size: int
    is_matrix: bool


@dataclass(frozen=True)
class Count:
    """How many tensors are kept in a type, their bytes together, and how many of them are matrices."""

    kind: str
    tensors: int
    matrices: int
    size: int


@dataclass(frozen=True)
class StandIn:
    """Matrices kept in `kind` where the quantization's name says `promised`: how many, and why."""

    kind: str
    promised: str
    matrices: int
    why: str


class Format(Protocol):
    """What a file of `artifact_formats/` offers."""

    def tensors(self, folder: Path) -> list[Kept]:
        """Return what every tensor is kept in; no weight is read."""
        ...

    def stands_in(self, tensor: Kept, promised: tuple[str, ...]) -> tuple[str, str]:
        """Return which of the promised types a matrix of another one stands in for, and why."""
        ...

    def weights(
        self, folder: Path, config: Mapping[str, Any]
    ) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        """Yield the number that every weight stands for, by its name in a Hugging Face checkpoint.

        Head and embedding are both given, also where they are one tensor. Raises ConversionError for what
        cannot be told in numbers.
        """
        ...


def format_of(folder: Path) -> Format:
    """Return what reads the artifact of a folder; raise ConversionError where nothing does."""
    for name in house.plugin_names("artifact_formats"):
        if any(folder.rglob(f"*.{name}")):
            return cast(Format, house.plugin("artifact_formats", name, option="artifact format"))
    raise ConversionError(
        f"{folder} holds no weights that can be read",
        expected=f"files that end in {', '.join(house.plugin_names('artifact_formats'))}",
    )


def counts(tensors: Iterable[Kept]) -> tuple[Count, ...]:
    """Return the types that occur, the one with the most bytes first."""
    found: dict[str, list[Kept]] = {}
    for tensor in tensors:
        found.setdefault(tensor.kind, []).append(tensor)
    summed = [
        Count(kind, len(every), sum(one.is_matrix for one in every), sum(one.size for one in every))
        for kind, every in found.items()
    ]
    return tuple(sorted(summed, key=lambda one: (-one.size, one.kind)))


def stand_ins(form: Format, tensors: Iterable[Kept], promised: tuple[str, ...]) -> tuple[StandIn, ...]:
    """Return which matrices are kept in another type than the `promised` ones; none where nothing is."""
    found: dict[tuple[str, str, str], int] = {}
    for tensor in tensors:
        if promised and tensor.is_matrix and tensor.kind not in promised:
            told = (tensor.kind, *form.stands_in(tensor, promised))
            found[told] = found.get(told, 0) + 1
    return tuple(StandIn(kind, instead, count, why) for (kind, instead, why), count in sorted(found.items()))
