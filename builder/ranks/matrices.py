"""Matrices of the source in torch, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builder.errors import SourceError
from builder.ranks import disk, numbers
from builder.ranks.quantization import Matrix
from builder.ranks.reading import Source

TORCH = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""safetensors' name of a type -> torch's."""


@dataclass(frozen=True)
class Measured:
    """What calibration found.

    `matrices` are by the source's names; one without a weight has the source's own. `caches` are the largest
    key and value of a layer, by the source's name of the matrix that makes the keys; empty where not asked
    for.
    """

    matrices: Mapping[str, Matrix]
    caches: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def read(source: Source, dtype: str) -> Any:
    """Return a tensor of a file as torch's, in the type of safetensors' name `dtype`."""
    import torch

    found = numbers.converted(_bits(source), source.info.dtype, dtype)
    signed = torch.from_numpy(found.view(numbers.SIGNED[dtype]))
    return signed.view(getattr(torch, TORCH[dtype])).reshape(source.info.shape)


def write(file: int, values: Any, length: int, place: int) -> None:
    """Write a tensor's bytes, of which there must be `length`."""
    import torch

    raw = values.contiguous().reshape(-1).view(torch.uint8).numpy()
    if raw.size != length:
        raise ValueError(f"Bug: {raw.size} bytes for a place of {length}")
    disk.write(file, memoryview(raw), place)


def require_sound(sources: Sequence[Source]) -> None:
    """Read matrices; raise SourceError for one of which no scale can be made."""
    for source in sources:
        found = _bits(source)
        bad = (
            0
            if numbers.is_finite(found, source.info.dtype)
            else numbers.not_finite(found, source.info.dtype).size
        )
        if bad:
            raise SourceError(
                f"{source.path}: {source.info.name} holds {bad:,} NaN or infinite values "
                f"among {found.size:,}",
                expected="finite weights",
                remedy="fetch the file again, or go back to the last sound state of the model",
            )
        if found.size > 1 and (found == found[0]).all():
            raise SourceError(
                f"{source.path}: {source.info.name} holds the same value in all its {found.size:,} places",
                expected="weights that were trained: there is nothing to quantise in a constant",
                remedy="fetch the file again, or go back to the last sound state of the model",
            )


def _bits(source: Source) -> numbers.Bits:
    raw = memoryview(bytearray(source.info.nbytes))
    with disk.opened(source.path, 0) as file:
        disk.read(file, raw, source.place, source.path)
    return numbers.bits(raw, source.info.dtype)
