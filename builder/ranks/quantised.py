"""A Hugging Face folder becomes a quantised TensorRT-LLM checkpoint: `convert`, with a measurement between.

What is measured comes from outside (`exporting/calibrating.py` does it with ModelOpt): here is only how
numbers are rounded, packed and shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import files
from builder.ranks import convert, copying, description, disk, matrices, packed, packing, quantization
from builder.ranks.blocks import Progress
from builder.ranks.convert import Prepared, Ranks
from builder.ranks.matrices import Measured


@dataclass(frozen=True)
class Quantised:
    """What is asked for: `method` is a file of `quantizations/`, `cache` whether the KV cache is FP8."""

    ranks: Ranks
    method: str
    cache: bool = False


Measure = Callable[[Prepared, Sequence[str]], tuple[Measured, Mapping[str, Any]]]
"""Is given the names of the source's matrices; returns what it found, and what is to be recorded."""


def convert_quantised(
    folder: Path, out: Path, asked: Quantised, measure: Measure, progress: Progress | None = None
) -> None:
    """Write config.json, calibration.json and rank*.safetensors; all of them, or nothing.

    Args:
        folder: Hugging Face's, with safetensors, unquantised.
        out: is made; it may be there if it is empty.
        asked: ranks, and how to quantise.
        measure: calibrates, once everything else is known to be in order.
        progress: hears of the bytes, once there are measurements.

    Raises:
        UsageError, SourceError, PlanError, ConversionError: as `convert`; also numbers of 32 bits, a matrix
        that is constant, a group size that does not divide, an unknown method.
    """
    convert.require_empty(out)
    way = quantization.load(asked.method)
    prepared = convert.prepare(folder, asked.ranks)
    convert.require_16_bits(prepared)
    packed.planned(prepared.ranks, way, prepared.dtype, asked.cache)
    names = list(packed.quantised_sources(prepared.ranks))
    by_name = {one.info.name: one for one in prepared.sources}
    matrices.require_sound([by_name[name] for name in names])
    measured, record = measure(prepared, names)
    write(out, prepared, asked, measured, record, progress)


def write(
    out: Path,
    prepared: Prepared,
    asked: Quantised,
    measured: Measured,
    record: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the ranks of matrices with their measurements, and what is recorded of those, if anything.

    Raises as `convert_quantised`.
    """
    way = quantization.load(asked.method)
    ranks = packed.planned(prepared.ranks, way, prepared.dtype, asked.cache)
    described = {**prepared.described, "quantization": _described(way, asked.cache)}
    kept = {piece.source for rank in ranks for one in rank.tensors for piece in one.pieces}
    sources = {one.info.name: one for one in prepared.sources}
    with convert.written(out, ranks, described) as stage:
        copying.copy([sources[name] for name in kept], ranks, stage)
        work = packing.Packing(way, prepared.dtype, sources, measured)
        work.write(prepared.ranks, ranks, stage, progress)
        if record is not None:
            files.write_json(stage / quantization.RECORD, record)
            disk.sync(stage / quantization.RECORD)


def _described(way: quantization.Quantization, cache: bool) -> dict[str, Any]:
    return {
        "quant_algo": way.ALGORITHM,
        "kv_cache_quant_algo": "FP8" if cache else None,
        **way.SETTINGS,
        "exclude_modules": list(description.EXCLUDED),
    }
