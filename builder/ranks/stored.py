"""Checkpoints that are quantised already, in a way that TensorRT-LLM has a layout for: nothing is measured.

Their numbers are taken as they are. Where matrices that lie in one tensor may have one scale only, those of
the smaller scale are rounded once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from builder import engine_layouts, house, source, weight_format
from builder.errors import SourceError
from builder.ranks import convert, family, headers, quantised, quantization, stored_tensors
from builder.ranks.blocks import Progress
from builder.ranks.convert import Ranks
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised
from builder.ranks.quantization import Matrix
from builder.source import Checkpoint, TensorInfo
from builder.weight_format import Stored


class StoredFormat(Protocol):
    """What each file in `stored_formats/` offers; it is named as the file of `weight_formats/`."""

    CACHE: tuple[str, str]
    """The scales of keys and of values, by what follows the name of the attention."""

    def require(self, told: Mapping[str, Any], parts: Mapping[str, TensorInfo]) -> None:
        """Raise SourceError for tensors of a matrix, by what follows its name, that the layout cannot be."""
        ...

    def matrix(self, told: Mapping[str, Any], parts: Mapping[str, Any]) -> Matrix:
        """Return a matrix with its scale.

        `parts` are the module's tensors of torch, which `require` lets pass, by what follows its name. Raises
        SourceError for numbers that the layout has no room for.
        """
        ...


def convert_stored(folder: Path, out: Path, asked: Ranks, progress: Progress | None = None) -> None:
    """Write config.json and rank*.safetensors of a checkpoint that is quantised already; all, or nothing.

    Args:
        folder: Hugging Face's, with safetensors.
        out: is made; it may be there if it is empty.
        asked: ranks, and the type of what is not quantised, which has 16 bits in any case.
        progress: hears of the bytes.

    Raises:
        UsageError, SourceError, PlanError, ConversionError: as `convert`; also a way of quantising that
        TensorRT-LLM has no layout for, or layers of which only some matrices are quantised.
    """
    convert.require_empty(out)
    checkpoint = source.open_checkpoint(folder, tokenizer=False)
    stored, told = _read(checkpoint), weight_format.description(checkpoint.config) or {}
    method = quantization.named(stored.kernels[engine_layouts.TARGET].method)
    form = cast(StoredFormat, house.plugin("ranks.stored_formats", stored.name, option="quant_method"))
    tensors = headers.stored(checkpoint)
    if tensors.dtype not in convert.HALVES:
        asked = replace(asked, dtype=asked.dtype or "bf16")
    prepared = convert.prepared(checkpoint, tensors.as_plain, tensors.dtype, asked)
    cache, names = stored.cache == "fp8", family.decoder(checkpoint.model_type).HUGGING_FACE
    measured = Measured(
        stored_tensors.Matrices(tensors, lambda parts: form.matrix(told, parts), prepared.dtype),
        stored_tensors.caches(tensors, form.CACHE, names["key"]) if cache else {},
    )
    quantised.write(out, prepared, Quantised(asked, method, cache), measured, progress=progress)


def _read(checkpoint: Checkpoint) -> Stored:
    stored = weight_format.read(checkpoint.config)
    if stored is None:
        raise SourceError(
            f"{checkpoint.origin} is not quantised, and no way to quantise it was asked for",
            expected="weights that are quantised already, or --method",
            remedy="pass --method fp8, or another",
        )
    stored = engine_layouts.with_cache(
        stored, checkpoint.tensors, checkpoint.config.get("num_hidden_layers", 0)
    )
    if engine_layouts.TARGET not in stored.kernels:
        raise headers.refusal(f"{stored.scheme}: {stored.refused[engine_layouts.TARGET]}")
    return stored
