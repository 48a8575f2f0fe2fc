"""Move the numbers: every byte of the source is read once, in its order there, and written where it goes.

What is in memory is one block a thread, whatever the model's size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builder.errors import ConversionError, SourceError
from builder.ranks import blocks, disk, numbers
from builder.ranks import journal as journals
from builder.ranks.blocks import Progress
from builder.ranks.journal import Journal
from builder.ranks.layout import Piece, RankFile
from builder.ranks.numbers import Bits
from builder.ranks.reading import Source

_FRESH = os.O_RDWR | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True)
class _Goal:
    """Where a piece of a source goes: an open file, its tensor's first byte, a row's bytes, the type."""

    file: int
    piece: Piece
    place: int
    row_bytes: int
    dtype: str


Block = blocks.Block[_Goal]


def copy(
    sources: Sequence[Source],
    ranks: Sequence[RankFile],
    folder: Path,
    progress: Progress | None = None,
    journal: Journal | None = None,
) -> None:
    """Write every rank's file into a folder, and see that the disk has them.

    Args:
        sources: all tensors that the ranks are made of.
        ranks: what the files hold.
        folder: exists; it has all of the files where the journal says that something is done, else none.
        progress: hears of it.
        journal: says from where on, and is told how far it comes.

    Raises:
        SourceError: a number that is none, or a file that ends before its header says.
        ConversionError: a number too large for the type that is wanted.
    """
    done = journal.done if journal else 0
    with ExitStack() as stack:
        flags = os.O_RDWR if done else _FRESH
        files = {rank.name: stack.enter_context(disk.opened(folder / rank.name, flags)) for rank in ranks}
        for rank in () if done else ranks:
            _write_header(files[rank.name], rank)
        paths = {source.path for source in sources}
        shards = {path: stack.enter_context(disk.opened(path, os.O_RDONLY)) for path in paths}
        total = sum(source.info.nbytes for source in sources)
        cut = blocks.after(blocks.cut(sources, shards, _goals(ranks, files)), done)
        with journals.kept(journal, list(files.values())) if journal else nullcontext() as reached:
            blocks.run(cut, _move, blocks.largest(sources), total, progress, done, reached)
        with ThreadPoolExecutor(len(files)) as pool:
            list(pool.map(os.fsync, files.values()))
    if journal:
        journal.add(total)


def _write_header(file: int, rank: RankFile) -> None:
    disk.write(file, memoryview(rank.header.head), 0)
    # rows of padding are never written: they read as zeros
    os.truncate(file, rank.nbytes)


def _goals(ranks: Sequence[RankFile], files: dict[str, int]) -> dict[str, list[_Goal]]:
    """Return source name -> all that is made of it."""
    goals: dict[str, list[_Goal]] = {}
    for rank in ranks:
        places = rank.header.places
        for tensor in rank.tensors:
            if not tensor.pieces:
                # room for what is quantised, by others
                continue
            info, width = tensor.info, len(tensor.pieces[0].region.columns)
            row_bytes = width * numbers.nbytes(info.dtype)
            for piece in tensor.pieces:
                goal = _Goal(files[rank.name], piece, places[info.name], row_bytes, info.dtype)
                goals.setdefault(piece.source, []).append(goal)
    return goals


def _move(block: Block, room: memoryview) -> None:
    """Read one block, see that its numbers are some, and write what each rank has of it."""
    dtype = block.source.info.dtype
    raw = room[: block.nbytes]
    disk.read(block.file, raw, block.place, block.source.path)
    values = numbers.bits(raw, dtype).reshape(len(block.rows), -1)
    if not numbers.is_finite(values, dtype):
        raise _not_finite(block, values)
    by_type: dict[str, Bits] = {dtype: values}
    for goal in block.goals:
        if goal.dtype not in by_type:
            by_type[goal.dtype] = _converted(block, values, goal.dtype)
        _put(by_type[goal.dtype], block.rows, goal)


def _put(values: Bits, rows: range, goal: _Goal) -> None:
    """Write the part of these rows that belongs to a rank's tensor."""
    region = goal.piece.region
    start, stop = max(rows.start, region.rows.start), min(rows.stop, region.rows.stop)
    if start >= stop:
        return
    part = values[start - rows.start : stop - rows.start, region.columns.start : region.columns.stop]
    row = goal.piece.row + start - region.rows.start
    # whole rows lie together: only columns are copied once more
    disk.write(goal.file, np.ascontiguousarray(part).data.cast("B"), goal.place + row * goal.row_bytes)


def _converted(block: Block, values: Bits, wanted: str) -> Bits:
    found = numbers.converted(values, block.source.info.dtype, wanted)
    if numbers.is_finite(found, wanted):
        return found
    places = numbers.not_finite(found, wanted)
    raise ConversionError(
        f"{block.source.info.name} holds {len(places)} values too large for {wanted}, "
        f"the first at {_position(block, places)}",
        expected="values within its range",
        remedy="convert to bf16, which has the range of float32",
    )


def _not_finite(block: Block, values: Bits) -> SourceError:
    places = numbers.not_finite(values, block.source.info.dtype)
    return SourceError(
        f"{block.source.path}: {block.source.info.name} holds {len(places)} NaN or infinite values among "
        f"{values.size}, the first at {_position(block, places)}",
        expected="finite weights",
        remedy="fetch the file again, or go back to the last sound state of the model",
    )


def _position(block: Block, places: Bits) -> list[int]:
    """Return the indices in the whole tensor of the first of these places in a block."""
    columns = block.source.row_bytes // numbers.nbytes(block.source.info.dtype)
    place = block.rows.start * columns + int(places[0])
    return [int(one) for one in np.unravel_index(place, block.source.info.shape)]
