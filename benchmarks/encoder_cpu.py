"""all-MiniLM-L6-v2 on the CPU: what serving costs over the raw library, and how we stand among servers.

    python benchmarks/encoder_cpu.py [--quick] [--peers fastapi_torch,litserve] [--repository FOLDER]

Every row embeds the same texts of 5 to 200 tokens. Raw and library rows take them in batches of their best
size; served rows are asked for one text at a time by one closed loop, 1, 16 and 64 at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))

from encoder import contest, entrants, figures, ours, stage, texts
from encoder.contest import Row
from encoder.lineup import PEERS
from encoder.stage import Stage
from workbench import bars, children, deployment, environment, record

QUICK_PEERS = [figures.RAW, figures.FASTAPI]
PACKAGES = {
    "sentence_transformers": ["sentence-transformers", "transformers", "torch"],
    "fastapi_torch": ["fastapi", "uvicorn", "sentence-transformers", "transformers", "torch"],
    "fastapi_onnxruntime": ["fastapi", "uvicorn", "onnxruntime", "tokenizers"],
    "litserve": ["litserve", "onnxruntime", "sentence-transformers", "torch"],
    "bentoml": ["bentoml", "onnxruntime", "sentence-transformers", "torch"],
    "pytriton": ["nvidia-pytriton", "onnxruntime", "sentence-transformers", "torch"],
}


@dataclass(frozen=True)
class Effort:
    """How long a run takes: repeats and texts by concurrency, texts of every try, repeats at one length."""

    repeats: Mapping[int, int]
    texts: Mapping[int, int]
    tries: Mapping[int, int]
    one_length: int


FULL = Effort({1: 9, 16: 7, 64: 7}, {1: 64, 16: 256, 64: 384}, {1: 16, 16: 96, 64: 128}, one_length=5)
QUICK = Effort({1: 1, 16: 1, 64: 1}, {1: 24, 16: 96, 64: 128}, {1: 8, 16: 32, 64: 32}, one_length=1)
_LENGTH_TEXTS = 256
_EXAMPLES = 8


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    children.let_tokenizers_use_threads()
    effort = QUICK if arguments.quick else FULL
    names = arguments.peers or (QUICK_PEERS if arguments.quick else list(PEERS))
    pythons = {name: entrants.python_of(name) for name in (*names, entrants.REFERENCE)}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="encoder-cpu-")))
        repository = ours.repository(arguments.repository or scratch / "repository")
        count = texts.counter(repository.tokenizer)
        load = {level: texts.mixed(number, count) for level, number in effort.texts.items()}
        tries = {level: load[level][:number] for level, number in effort.tries.items()}
        files = stage.files(repository)
        examples = load[max(load)][:_EXAMPLES]
        common = Stage(files, scratch, examples, entrants.wanted(files, scratch, examples))
        served = stack.enter_context(deployment.serve(repository.folder))
        rows = [
            *entrants.served(served, common),
            *(entrants.peer(name, common, quick=arguments.quick) for name in names),
        ]
        rows = [row for row in rows if entrants.joins(row, tries, stack)]
        contest.play(rows, effort.repeats, load)
        full = _batches_of_one_length(rows, texts.of_one_length(_LENGTH_TEXTS, count), effort.one_length)
        found = [row.to_json(level) for row in rows for level in effort.repeats]
    told = figures.of(rows) | full
    versions = record.versions() | {
        name: environment.versions(python, PACKAGES[name])
        for name, python in pythons.items()
        if name in PACKAGES
    }
    settings = {"repeats": effort.repeats, "texts": effort.texts, "peers": names}
    tried = {row.name: row.tried for row in rows if row.tried}
    record.write("encoder_cpu", told, found, arguments, settings=settings, tried=tried, versions=versions)
    figures.show(found)
    record.print_figures(told)
    return 0 if arguments.quick else bars.tell(figures.BARS, told)


def _batches_of_one_length(rows: Sequence[Row], same: Sequence[str], repeats: int) -> dict[str, float]:
    """Return how many texts Triton ran together when the closed loop asked for BATCHED at once."""
    level = figures.BATCHED
    (mine,) = (row for row in rows if row.name == figures.OURS)
    samples = [mine.entrants[level].sample(same, level) for _ in range(repeats)]
    return {f"mean_batch_c{level}": median(one.mean_batch or 0.0 for one in samples)}


def _known_peers(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no peer is named {' or '.join(unknown)}; there are {', '.join(PEERS)}"
        )
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer in a minute, without bars")
    parser.add_argument(
        "--peers", type=_known_peers, metavar="NAMES", help=f"some of {','.join(PEERS)}; default: all"
    )
    parser.add_argument(
        "--repository",
        type=Path,
        help="a repository with minilm; default: one is built, and built where missing",
    )
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
