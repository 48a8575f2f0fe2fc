"""Which part of a matrix of the source belongs to one rank: one function for each way to share it.

Matrices are [outputs, inputs]; a vector counts as a matrix with one column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from builder.architecture import Dimensions
from builder.ranks.division import Seat

Size = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """Rows and columns of a source matrix; `height` counts the rows they take, those after them zeros."""

    rows: range
    columns: range
    height: int


Share = Callable[[Size, Seat, Dimensions], Region]


def whole(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """Every rank has all of it."""
    return Region(range(size[0]), range(size[1]), size[0])


def outputs(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """Each rank computes a part of the outputs."""
    return _rows(size, seat.position, seat.division.tensor)


def inputs(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """Each rank reads a part of the inputs."""
    return _columns(size, seat.position, seat.division.tensor)


def heads(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """Each rank has whole heads; where there are fewer than ranks, several ranks have the same one.

    `size[0]` is heads x head size, of queries, keys or values (convert_utils.py, dup_kv_weight).
    """
    count, ranks = size[0] // dimensions.head_size, seat.division.tensor
    if count >= ranks:
        return _rows(size, seat.position, ranks)
    return _rows(size, seat.position * count // ranks, count)


def padded(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """Each rank has as many rows, the last of them zeros where the ranks do not divide the number."""
    height = -(-size[0] // seat.division.tensor)
    start = min(seat.position * height, size[0])
    return Region(range(start, min(start + height, size[0])), range(size[1]), height)


def expert_outputs(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """As `outputs`, among the ranks that split an expert."""
    return _rows(size, seat.expert_position, seat.division.expert_tensor)


def expert_inputs(size: Size, seat: Seat, dimensions: Dimensions) -> Region:
    """As `inputs`, among the ranks that split an expert."""
    return _columns(size, seat.expert_position, seat.division.expert_tensor)


def _rows(size: Size, position: int, parts: int) -> Region:
    each = size[0] // parts
    return Region(range(position * each, (position + 1) * each), range(size[1]), each)


def _columns(size: Size, position: int, parts: int) -> Region:
    each = size[1] // parts
    return Region(range(size[0]), range(position * each, (position + 1) * each), size[0])
