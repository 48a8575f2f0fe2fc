"""A random Llama 3.1 8B to TensorRT-LLM ranks, against `cp` of the same bytes; a 1B against other converters.

    python benchmarks/convert.py [--repeats 3] [--peers load_all,modelopt] [--work FOLDER] [--quick]

Every run begins with a page cache that holds nothing of the source, and ends when the disk has every byte.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from conversion import models, timing
from conversion.timing import Run
from workbench import bars, children, environment, numbers, record
from workbench.bars import Bar

RANKS = (1, 2)
PEERS = ("load_all", "modelopt")
HERE = Path(__file__).parent

BARS = (
    *(Bar(f"wall_over_cp_8b_tp{ranks}", "<=", 1.3) for ranks in RANKS),
    *(Bar(f"peak_mb_8b_tp{ranks}", "<=", 1500) for ranks in RANKS),
)

Ways = dict[str, Callable[[Path, Path], Run]]


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    large, small = ("small", "small") if arguments.quick else ("8b", "1b")
    _require_room(arguments.work, large)
    figures: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="convert-", dir=arguments.work) as folder:
        for ranks in RANKS:
            ways: Ways = {
                "cp": timing.cp,
                "ours": lambda source, out, ranks=ranks: timing.ours(source, out, ranks),  # type: ignore[misc]
            }
            found = _race(Path(folder), large, ways, arguments.repeats, rows, ranks)
            figures[f"wall_over_cp_{large}_tp{ranks}"] = _ratio(found["ours"], found["cp"])
            figures[f"peak_mb_{large}_tp{ranks}"] = max(run.peak_mb for run in found["ours"])
        shutil.rmtree(Path(folder) / large)
        if arguments.peers:
            found = _race(Path(folder), small, _with(arguments.peers), arguments.repeats, rows, 1)
            for peer in arguments.peers:
                figures[f"wall_over_{peer}_{small}"] = _ratio(found["ours"], found[peer])
                figures[f"peak_mb_{peer}_{small}"] = max(run.peak_mb for run in found[peer])
            figures[f"peak_mb_{small}"] = max(run.peak_mb for run in found["ours"])
    record.write("convert", figures, rows, arguments)
    record.print_figures(figures)
    return 0 if arguments.quick else bars.tell(BARS, figures)


def _race(
    folder: Path, size: str, ways: Ways, repeats: int, rows: list[dict[str, Any]], ranks: int
) -> dict[str, list[Run]]:
    """Let the ways take turns, every other time the other way round; return the runs of each."""
    source = folder / size
    if not source.is_dir():
        models.write(source, size)
        timing.sync(source)
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name in list(ways) if repeat % 2 == 0 else reversed(ways):
            run = ways[name](source, folder / "out")
            found[name].append(run)
            row = {"size": size, "ranks": ranks, "way": name, "repeat": repeat, **vars(run)}
            rows.append(row)
            print(f"{size} tp{ranks} {name:9} {run.seconds:7.2f} s  {run.peak_mb:7.0f} MB", file=sys.stderr)
    for name, runs in found.items():
        seconds = median(run.seconds for run in runs)
        print(f"{size:6} {ranks} ranks  {name:9} {seconds:8.2f} s {max(run.peak_mb for run in runs):8.0f} MB")
    return found


def _ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    times = [{number: run.seconds for number, run in enumerate(runs)} for runs in (ours, theirs)]
    return numbers.paired_ratio(*times)


def _with(peers: Sequence[str]) -> Ways:
    ways: Ways = {"ours": lambda source, out: timing.ours(source, out, 1)}
    for peer in peers:
        ways[peer] = lambda source, out, peer=peer: timing.module(  # type: ignore[misc]
            _python(peer), f"conversion.peers.{peer}", source, out
        )
    return ways


def _python(peer: str) -> str:
    """Return the interpreter that has what a peer needs: ours, or one of its own."""
    requirements = HERE / f"requirements-convert-{peer}.txt"
    if not requirements.is_file():
        return sys.executable
    return str(environment.ensure(HERE / f".venv-convert-{peer}", requirements))


def _require_room(work: Path | None, size: str) -> None:
    """Refuse to begin what the disk has no room for: the source, and one copy of it at a time."""
    where = work or Path(tempfile.gettempdir())
    # two ranks have the embedding twice
    needed, free = int(2.1 * models.nbytes(size)), shutil.disk_usage(where).free
    if needed > free:
        raise SystemExit(
            f"{where} has {free / 1e9:.0f} GB left, {needed / 1e9:.0f} GB are needed: --work FOLDER"
        )


def _peers(text: str) -> list[str]:
    found = [name for name in text.split(",") if name]
    if unknown := set(found) - set(PEERS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(PEERS)}")
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=record.positive, default=3, help="runs of each, default 3")
    parser.add_argument("--peers", type=_peers, default=list(PEERS), help=f"default {','.join(PEERS)}")
    parser.add_argument(
        "--work", type=Path, help="a folder on the disk to measure; default: the temporary one"
    )
    parser.add_argument("--quick", action="store_true", help="a model of 0.4 GB in place of 8B and 1B")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
