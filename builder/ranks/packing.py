"""Quantise tensor by tensor, one of one layer at a time, and write each rank's part of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.ranks import disk, matrices, packed, quantization, rounding
from builder.ranks.blocks import Progress
from builder.ranks.layout import Piece, RankFile, RankTensor
from builder.ranks.matrices import Measured
from builder.ranks.quantization import Matrix, Quantization, Rounded
from builder.ranks.reading import Source


@dataclass(frozen=True)
class _Holder:
    """A rank that has a part of a tensor: its open file, where its tensors begin, and the part."""

    file: int
    places: Mapping[str, int]
    tensor: RankTensor


class Packing:
    """The quantised tensors of all ranks.

    Args:
        way: how to quantise.
        dtype: safetensors' name of the model's own numbers.
        sources: of the model, by name.
        measured: what calibration found.
    """

    def __init__(
        self, way: Quantization, dtype: str, sources: Mapping[str, Source], measured: Measured
    ) -> None:
        self._way, self._dtype, self._sources, self._measured = way, dtype, sources, measured

    def write(
        self,
        plain: Sequence[RankFile],
        ranks: Sequence[RankFile],
        folder: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fill the files of a folder, which have their headers already.

        Args:
            plain: the ranks as they would be unquantised, which tell what each tensor is made of.
            ranks: the same quantised.
            folder: has the files.
            progress: hears of the bytes.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(disk.opened(folder / rank.name, os.O_RDWR)) for rank in ranks]
            places = [rank.header.places for rank in ranks]
            by_sources: dict[tuple[str, ...], list[_Holder]] = {}
            for rank, file, begins in zip(plain, files, places, strict=True):
                for tensor in rank.tensors:
                    if packed.module(tensor):
                        held = _Holder(file, begins, tensor)
                        by_sources.setdefault(_names(tensor), []).append(held)
            done, total = 0, sum(map(_nbytes, by_sources.values()))
            siblings = _siblings(self._way, plain)
            for names, holders in by_sources.items():
                self._write(names, holders, siblings.get(names, ()))
                done += _nbytes(holders)
                if progress:
                    progress(done, total)
            for file in files:
                os.fsync(file)

    def _write(self, names: Sequence[str], holders: Sequence[_Holder], companions: Sequence[str]) -> None:
        stack = packed.experts(holders[0].tensor)
        each = len(names) // stack
        others = [self._matrix(name) for name in companions]
        for expert in range(stack):
            own = names[expert * each : (expert + 1) * each]
            read = [self._matrix(name) for name in own]
            made = self._way.rounded(read, others)
            for holder in holders:
                self._put(made, read, holder, expert)
        if packed.module(holders[0].tensor) == "attention.qkv" and self._measured.caches:
            for holder in holders:
                self._put_cache(self._measured.caches[names[1]], holder)

    def _matrix(self, name: str) -> Matrix:
        found = self._measured.matrices[name]
        if found.weight is not None:
            return replace(found, weight=found.weight.cpu())
        return replace(found, weight=matrices.read(self._sources[name], self._dtype))

    def _put(self, made: Rounded, read: Sequence[Matrix], holder: _Holder, expert: int) -> None:
        """Write a rank's part of what was rounded, which of experts is one among them."""
        import torch

        tensor, way = holder.tensor, self._way
        stack = packed.experts(tensor)
        pieces = tensor.pieces[expert * len(read) : (expert + 1) * len(read)]
        for name, info in packed.infos(tensor, way, self._dtype).items():
            own = "" if name == "weight" else way.SCALES[name]
            whole = made.scales[name] if own else made.numbers
            parts = [_part(whole, own, *one, way.GROUP_SIZE) for one in _rows(pieces, read)]
            whole_row = own in (quantization.EACH, quantization.LAYER, quantization.INPUT)
            found = parts[0] if whole_row else torch.cat(parts)
            if not own and way.PER_BYTE == 2:
                found = rounding.pairs(found)
            length = info.nbytes if own == quantization.LAYER else info.nbytes // stack
            place = holder.places[info.name] + (0 if own == quantization.LAYER else expert * length)
            matrices.write(holder.file, found, length, place)

    def _put_cache(self, largest: tuple[Any, Any], holder: _Holder) -> None:
        import torch

        # what float8 holds as it is is not scaled up: ModelOpt's get_kv_cache_scaling_factor
        key, value = (
            torch.clamp(one.float().reshape(1) / rounding.FLOAT8_LARGEST, min=1.0) for one in largest
        )
        prefix = holder.tensor.info.name.removesuffix("qkv.weight")
        for name, scale in zip(packed.CACHE_SCALES, (torch.maximum(key, value), key, value), strict=True):
            matrices.write(holder.file, scale, 4, holder.places[prefix + name])


def _nbytes(holders: Sequence[_Holder]) -> int:
    return sum(holder.tensor.info.nbytes for holder in holders)


def _names(tensor: RankTensor) -> tuple[str, ...]:
    return tuple(piece.source for piece in tensor.pieces)


def _siblings(way: Quantization, ranks: Sequence[RankFile]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return, by what a tensor is made of, what other tensors of its scales are made of."""
    found = {}
    for rank in ranks:
        held = {one.info.name: one for one in rank.tensors}
        for tensor in rank.tensors:
            name = packed.module(tensor)
            for group in way.TOGETHER if name else ():
                prefix = tensor.info.name.removesuffix(f"{name}.weight")
                others = [held.get(f"{prefix}{one}.weight") for one in sorted(group - {name})]
                if name in group:
                    found[_names(tensor)] = tuple(part for one in others if one for part in _names(one))
    return found


def _rows(pieces: Sequence[Piece], read: Sequence[Matrix]) -> Iterator[tuple[range, range]]:
    """Yield rows and columns of each piece, counted in all matrices one below the other."""
    above = 0
    for piece, matrix in zip(pieces, read, strict=True):
        rows = piece.region.rows
        yield range(above + rows.start, above + rows.stop), piece.region.columns
        above += matrix.weight.shape[0]


def _part(whole: Any, own: str, rows: range, columns: range, group: int) -> Any:
    """Return of numbers or scales what belongs to rows and columns of the matrix."""
    if own in (quantization.EACH, quantization.LAYER):
        return whole
    if own == quantization.INPUT:
        return whole[columns.start : columns.stop]
    if own == quantization.OUTPUT:
        return whole[rows.start : rows.stop]
    step = group if own == quantization.GROUP else 1
    return whole[rows.start : rows.stop, columns.start // step : columns.stop // step]
