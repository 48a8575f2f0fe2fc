"""A Hugging Face folder becomes a TensorRT-LLM checkpoint: read me first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import files, source
from builder.architecture import Dimensions
from builder.errors import ConversionError, SourceError, UsageError
from builder.ranks import copying, description, disk, division, family, headers, reading, unfinished
from builder.ranks.division import Division
from builder.ranks.layout import Layout, RankFile
from builder.ranks.reading import Source
from builder.ranks.unfinished import Say
from builder.source import Checkpoint, TensorInfo

DTYPES = {"bf16": ("BF16", "bfloat16"), "fp16": ("F16", "float16"), "fp32": ("F32", "float32")}
"""Value of --quantize -> safetensors' name and TensorRT-LLM's."""

HALVES = ("BF16", "F16")
"""What beside quantised weights TensorRT-LLM's kernels take, by safetensors' names."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@dataclass(frozen=True)
class Ranks:
    """What is asked for: how many, and of what numbers.

    `dtype` is a key of DTYPES, "" for the source's own. With `parallel_embedding` the ranks share out the
    rows of the embedding, which each has whole otherwise (NVIDIA's converter has it whole, ModelOpt shares).
    `rounding` is the `quant_algo` by which trtllm-build rounds plain weights as it reads them, "" for none.
    """

    division: Division
    dtype: str = ""
    parallel_embedding: bool = False
    rounding: str = ""


@dataclass(frozen=True)
class Prepared:
    """A conversion that can be: what each rank's file holds, where the source lies, what config.json says.

    `dtype` is safetensors' name of the model's own numbers.
    """

    checkpoint: Checkpoint
    dimensions: Dimensions
    dtype: str
    ranks: Sequence[RankFile]
    sources: Sequence[Source]
    described: dict[str, Any]


def convert(
    folder: Path,
    out: Path,
    asked: Ranks,
    progress: Progress | None = None,
    part: Path | None = None,
    say: Say = lambda line: None,
) -> None:
    """Write config.json and rank*.safetensors of plain weights; all of them, or nothing.

    One that is killed leaves what it has in `part`, where the same conversion goes on.

    Args:
        folder: Hugging Face's, with safetensors; a GGUF is written out so before (`sources/gguf.py`).
        out: is made; it may be there if it is empty.
        asked: ranks and numbers.
        progress: hears how far it is, from several threads, one at a time.
        part: a folder on the disk of `out`, `.OUT.part` beside it if left out. Who names one discards it
            (`unfinished.discard`): until then all can be had from it again.
        say: hears a line where it goes on, or waits for another in the same `part`.

    Raises:
        UsageError: `out` holds something, a count below 1, or no such type.
        SourceError: a shard is missing or cut, numbers that are none, types mixed, weights quantised already.
        PlanError: heads, layers, widths or experts that the ranks do not divide.
        ConversionError: no such family, a number too large for its type, a disk too small.
    """
    named, part = bool(part), part or unfinished.beside(out)
    if not (part / "ranks").exists():
        # one was killed in the moment after its ranks had become `out`
        unfinished.discard(part)
    require_empty(out)
    prepared = _prepared_or_none_left(folder, asked, part)
    identity = unfinished.identity(prepared.sources, prepared.ranks, prepared.described)
    with files.translated(ConversionError, f"writing {out}"), unfinished.claimed(part, say) as place:
        # another may have been faster, while this one waited
        require_empty(out)
        files.sweep(out.absolute())
        journal = place.begun(identity, prepared.ranks)
        if journal.done:
            say(f"going on at {100 * journal.done // sum(one.info.nbytes for one in prepared.sources)} %")
        _require_room(out, prepared.ranks, place.nbytes())
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with place.removed_if_refused():
            copying.copy(prepared.sources, prepared.ranks, place.ranks, progress, journal)
            _write_config(place.ranks, prepared.described)
            (place.give if named else place.become)(out)


def _prepared_or_none_left(folder: Path, asked: Ranks, part: Path) -> Prepared:
    """Prepare; where the source itself is refused, nobody can go on with what was made of it before."""
    try:
        prepared = prepare(folder, asked)
    except SourceError:
        if folder.is_dir():
            unfinished.discard(part)
        raise
    if asked.rounding:
        require_16_bits(prepared)
        prepared.described["quantization"] |= {
            "quant_algo": asked.rounding,
            "exclude_modules": list(description.EXCLUDED),
        }
    return prepared


def prepare(folder: Path, asked: Ranks) -> Prepared:
    """Decide everything from headers, before a weight is read; raises as `convert`."""
    checkpoint = source.open_checkpoint(folder, tokenizer=False)
    held, dtype = headers.plain(checkpoint)
    return prepared(checkpoint, held, dtype, asked)


def prepared(checkpoint: Checkpoint, held: Mapping[str, TensorInfo], dtype: str, asked: Ranks) -> Prepared:
    """Decide for an open checkpoint; `held` are its tensors as if plain, `dtype` their type."""
    way, decoder = family.load(checkpoint.model_type), family.decoder(checkpoint.model_type)
    sizes = decoder.dimensions(checkpoint.config)
    division.require_divisible(sizes, asked.division)
    kind, spelled = _dtype(asked.dtype, dtype)
    described = description.describe(
        way, checkpoint.config, sizes, asked.division, spelled, asked.parallel_embedding
    )
    layout = Layout(
        way.RULES, decoder.HUGGING_FACE, held, sizes, asked.division, kind, asked.parallel_embedding
    )
    there = [name for name in held if name in checkpoint.tensors]
    return Prepared(checkpoint, sizes, kind, layout.files(), reading.places(checkpoint, there), described)


@contextmanager
def written(out: Path, ranks: Sequence[RankFile], described: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder to write the ranks into; when the block ends well it is `out`, with config.json.

    Raises ConversionError for a disk that is too small or fails.
    """
    with files.translated(ConversionError, f"writing {out}"):
        unfinished.discard(unfinished.beside(out))
        _require_room(out, ranks)
        with files.staged(out) as stage:
            yield stage
            _write_config(stage, described)
        disk.sync(out.absolute().parent)


def _write_config(folder: Path, described: Mapping[str, Any]) -> None:
    files.write_json(folder / unfinished.CONFIG, described)
    disk.sync(folder / unfinished.CONFIG)
    disk.sync(folder)


def require_16_bits(prepared: Prepared) -> None:
    """Raise UsageError where what is not quantised would be in float32."""
    if prepared.dtype not in HALVES:
        raise UsageError(
            f"{prepared.checkpoint.origin}: what is not quantised would be in float32",
            expected="numbers of 16 bits, which TensorRT-LLM's quantised kernels take",
            remedy="pass --dtype bf16, or fp16",
        )


def require_empty(out: Path) -> None:
    """Raise UsageError where a folder holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", expected="a new folder", remedy="choose another")


def _dtype(asked: str, own: str) -> tuple[str, str]:
    """Return the type to write, by safetensors' name and TensorRT-LLM's."""
    if asked and asked not in DTYPES:
        raise UsageError(f"{asked!r} is no type of weights", expected=f"one of {', '.join(DTYPES)}")
    # there are no engines of float64
    known = next((name for name, (kind, _) in DTYPES.items() if kind == own), "fp32")
    return DTYPES[asked or known]


def _require_room(out: Path, ranks: Sequence[RankFile], held: int = 0) -> None:
    """Raise ConversionError where the disk has less than the ranks take beyond what it holds of them."""
    place = next(parent for parent in out.absolute().parents if parent.is_dir())
    needed, free = sum(rank.nbytes for rank in ranks) - held, shutil.disk_usage(place).free
    if needed > free:
        raise ConversionError(
            f"{len(ranks)} ranks take {needed:,} bytes, {place} has {free:,} left",
            expected="room for all of them: the source stays as it is",
            remedy="free space on that disk, or choose an output folder on another",
        )
