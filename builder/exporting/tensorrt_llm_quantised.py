"""A quantised checkpoint: `python -m builder.exporting.tensorrt_llm_quantised CHECKPOINT OUT --method fp8`.

`--method` is a file of `builder/ranks/quantizations/`; without it CHECKPOINT is quantised already, and its
numbers are only laid out anew, for which torch is enough. Else it needs torch, transformers and
nvidia-modelopt (the extra `tensorrtllm`), memory for one layer, on a GPU where there is one, and for what all
texts are as they reach it; smoothed weights lie beside OUT until they are packed. TensorRT-LLM is never
needed. OUT holds config.json, rank*.safetensors and, where scales were measured, calibration.json afterwards,
or is not there. `share` of `exporting/tensorrt_llm.py` reads what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import complaint, files, source
from builder.calibration import texts
from builder.exporting.tensorrt_llm import PERCENTS, Percents, say
from builder.ranks import quantization, stored
from builder.ranks.convert import DTYPES, Prepared, Ranks
from builder.ranks.division import Division
from builder.ranks.matrices import Measured
from builder.ranks.quantised import Quantised, convert_quantised

CALIBRATING = 85
"""Percent of the way when all is measured: running a model takes longer than rounding it."""


def command(source: Path, out: Path, asked: Quantised, calibration: Path | None = None) -> list[str]:
    """Return the command that converts in a process of its own; no method for what is quantised already."""
    division = asked.ranks.division
    return [
        *(sys.executable, "-m", "builder.exporting.tensorrt_llm_quantised", str(source), str(out)),
        *(("--method", asked.method) if asked.method else ()),
        *(("--kv-cache", "fp8") if asked.cache else ()),
        *(("--calibration", str(calibration)) if calibration else ()),
        *("--tp", str(division.tensor), "--pp", str(division.pipeline), "--ep", str(division.experts)),
        *(("--hosts", str(division.hosts)) if division.hosts > 1 else ()),
        *(("--dtype", asked.ranks.dtype) if asked.ranks.dtype else ()),
        *(("--parallel-embedding",) if asked.ranks.parallel_embedding else ()),
        PERCENTS,
    ]


class _Calibration:
    """Measures with the data of a file; `room` is a folder for what is smoothed."""

    def __init__(
        self, data: texts.Data, longest: int, asked: Quantised, room: Path, percents: Percents
    ) -> None:
        self._data, self._longest = data, longest
        self._asked, self._room, self._percents = asked, room, percents

    def __call__(self, prepared: Prepared, names: Sequence[str]) -> tuple[Measured, Mapping[str, Any]]:
        import transformers

        from builder.exporting import calibrating

        folder = prepared.checkpoint.path
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        longest = min(self._longest, prepared.dimensions.context_length)
        sequences = texts.sequences(self._data, tokenizer, longest)
        if doubted := texts.doubt(self._data, sequences):
            say(f"warning: {doubted}")
        measured = calibrating.measure(prepared, names, sequences, self._asked, self._room, self._hear)
        told = texts.described(self._data, sequences, longest)
        return measured, calibrating.record(quantization.load(self._asked.method), told)

    def _hear(self, done: int, total: int) -> None:
        self._percents(CALIBRATING * done, 100 * total)


def main() -> None:
    """Convert as the command line says."""
    parser = argparse.ArgumentParser(prog="builder.exporting.tensorrt_llm_quantised", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--method", choices=quantization.names(), help="left out where CHECKPOINT is quantised already"
    )
    parser.add_argument("--kv-cache", choices=["fp8"], help="default: as wide as the model's own numbers")
    parser.add_argument("--calibration", type=Path, default=texts.SHIPPED, metavar="FILE.jsonl")
    parser.add_argument("--samples", type=int, default=0, help="how many of these texts; else all")
    parser.add_argument("--length", type=int, default=texts.LONGEST, help="tokens of each that are used")
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel ranks")
    parser.add_argument("--pp", type=int, default=1, help="pipeline stages")
    parser.add_argument("--ep", type=int, default=1, help="groups of ranks that share out the experts")
    parser.add_argument("--hosts", type=int, default=1, help="that have as many of the ranks each")
    parser.add_argument("--dtype", choices=[name for name in DTYPES if name != "fp32"], default="")
    parser.add_argument(
        "--parallel-embedding", action="store_true", help="share out the rows of the embedding"
    )
    parser.add_argument(PERCENTS, action="store_true", help="print how far it is, to no terminal too")
    told = parser.parse_args()
    with complaint.printed(again="run the same command again"):
        _convert(told)


def _convert(told: argparse.Namespace) -> None:
    ranks = Ranks(Division(told.tp, told.pp, told.ep, told.hosts), told.dtype, told.parallel_embedding)
    percents = Percents(told.percents)
    if told.method is None:
        stored.convert_stored(told.checkpoint, told.out, ranks, percents)
        return
    # the calibration's texts are read by its tokenizer
    source.open_checkpoint(told.checkpoint)
    asked = Quantised(ranks, told.method, bool(told.kv_cache))
    data = texts.first(texts.read(told.calibration), told.samples)

    def packed(done: int, total: int) -> None:
        percents(CALIBRATING * total + (100 - CALIBRATING) * done, 100 * total)

    # on the disk that has room for the ranks: /tmp may be memory
    beside = next(one for one in told.out.absolute().parents if one.is_dir())
    with files.scratch(beside / f"smoothed-{told.out.name}") as room:
        measure = _Calibration(data, told.length, asked, room, percents)
        convert_quantised(told.checkpoint, told.out, asked, measure, packed)


if __name__ == "__main__":
    main()
