"""A checkpoint for trtllm-build: `python -m builder.exporting.tensorrt_llm CHECKPOINT OUT [--tp 2] ...`.

CHECKPOINT is a Hugging Face folder with safetensors; OUT holds config.json and rank*.safetensors afterwards,
or is not there. What is killed goes on where it was, when the same is asked for again. It needs numpy and no
more: no torch, no TensorRT-LLM, no GPU. What it prints on the way `share` reads.
`builder.ranks.family.windows` tells Mistral's window, which the format has no field for.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from builder import complaint
from builder.ranks.convert import DTYPES, Ranks, convert
from builder.ranks.division import Division

ROUNDINGS = ("W8A16", "W4A16")
"""By TensorRT-LLM's name (its quantization/mode.py): weights alone, a scale for each output of a rank."""

PERCENTS = "--percents"
"""What a program asks for that reads on the way how far it is."""

_TOLD = re.compile(r"^(?:converted|going on at) (\d+) %$", re.MULTILINE)


def command(source: Path, out: Path, asked: Ranks, part: Path | None = None) -> list[str]:
    """Return the command that converts in a process of its own; `part` as in `convert`."""
    division = asked.division
    return [
        *(sys.executable, "-m", "builder.exporting.tensorrt_llm", str(source), str(out)),
        *("--tp", str(division.tensor), "--pp", str(division.pipeline), "--ep", str(division.experts)),
        *(("--hosts", str(division.hosts)) if division.hosts > 1 else ()),
        *(("--dtype", asked.dtype) if asked.dtype else ()),
        *(("--parallel-embedding",) if asked.parallel_embedding else ()),
        *(("--rounding", asked.rounding) if asked.rounding else ()),
        *(("--part", str(part)) if part else ()),
        PERCENTS,
    ]


def share(log: str) -> float:
    """Return which share is done, 0 to 1, by what was printed."""
    told = _TOLD.findall(log)
    return int(told[-1]) / 100 if told else 0.0


class Percents:
    """Prints a line for each percent, or the last one alone where neither a person nor a program waits."""

    def __init__(self, asked: bool = False) -> None:
        self._every = asked or sys.stdout.isatty()
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(1, total)
        if percent > self._last:
            self._last = percent
            if self._every or percent == 100:
                say(f"converted {percent} %")


def say(line: str) -> None:
    """Print a line at once: whoever reads it waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Convert as the command line says."""
    parser = argparse.ArgumentParser(prog="builder.exporting.tensorrt_llm", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel ranks")
    parser.add_argument("--pp", type=int, default=1, help="pipeline stages")
    parser.add_argument("--ep", type=int, default=1, help="groups of ranks that share out the experts")
    parser.add_argument("--hosts", type=int, default=1, help="that have as many of the ranks each")
    parser.add_argument("--dtype", choices=list(DTYPES), default="", help="default: the source's own")
    parser.add_argument(
        "--parallel-embedding", action="store_true", help="share out the rows of the embedding"
    )
    parser.add_argument(
        "--rounding",
        choices=ROUNDINGS,
        default="",
        help="what trtllm-build rounds weights by as it reads them",
    )
    parser.add_argument(
        "--part",
        type=Path,
        metavar="FOLDER",
        help="where it grows and stays, on the disk of OUT; default: .OUT.part",
    )
    parser.add_argument(PERCENTS, action="store_true", help="print how far it is, to no terminal too")
    told = parser.parse_args()
    division = Division(told.tp, told.pp, told.ep, told.hosts)
    asked = Ranks(division, told.dtype, told.parallel_embedding, told.rounding)
    with complaint.printed(again="run the same command again: it goes on where it was"):
        convert(told.checkpoint, told.out, asked, Percents(told.percents), told.part, say)


if __name__ == "__main__":
    main()
