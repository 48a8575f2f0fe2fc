"""SmolLM2-135M on the CPU: what serving costs over the raw library, and how we stand among servers.

    python benchmarks/llm_cpu.py [--quick] [--peers onnxruntime,llama_cpp]

Every row answers the same chats with exactly the same number of greedy tokens. Raw rows are swept over
threads and batches, so that they are the real limit; served rows are all measured by `builder measure`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1]))

from workbench import bars, chats, children, deployment, environment, lineup, memory, numbers, record, tables
from workbench.bars import Bar
from workbench.children import BENCHMARKS
from workbench.deployment import Deployment
from workbench.tournament import Row, play, sweep, top

IDLE_BASE_MB = 600
PACKAGES = [
    *("onnxruntime", "onnxruntime-genai", "openvino-genai", "xllamacpp"),
    *("transformers", "torch", "fastapi", "uvicorn"),
]


@dataclass(frozen=True)
class Effort:
    """How long a run takes; `repeats` by concurrency, `tries` of `sweep_tokens` for every setting."""

    repeats: Mapping[int, int]
    tokens: int
    sweep_tokens: int
    tries: int
    boots: int


# few requests alone are soon over and vary the most
FULL = Effort({1: 32, 8: 10, 16: 10}, tokens=128, sweep_tokens=32, tries=2, boots=3)
QUICK = Effort({1: 1, 8: 1, 16: 1}, tokens=24, sweep_tokens=8, tries=0, boots=1)
QUICK_PEERS = ["onnxruntime", "llama_cpp"]

BARS = (
    *(Bar(f"served_over_raw_c{level}", "<=", 1.03, "raw was not tuned") for level in (1, 8, 16)),
    Bar("served_over_raw_c1", ">=", 0.90),
    Bar("served_over_raw_c8", ">=", 0.85),
    Bar("served_over_raw_c16", ">=", 0.85),
    Bar("ttft_added_ms_c1", "<=", 15),
    Bar("served_over_best_peer_c1", ">=", 1.0),
    Bar("served_over_best_peer_c16", ">=", 1.0),
    Bar("idle_memory_over_bound", "<=", 1.0),
)


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    effort = QUICK if arguments.quick else FULL
    names = arguments.peers or (QUICK_PEERS if arguments.quick else list(lineup.PEERS))
    levels = tuple(effort.repeats)
    python = environment.ensure(BENCHMARKS / ".venv-peers", BENCHMARKS / "requirements.txt")
    with tempfile.TemporaryDirectory(prefix="llm-cpu-") as folder:
        scratch = Path(folder)
        repository = deployment.build(scratch / "repository")
        boots = [_boot_once(repository) for _ in range(effort.boots)]
        with deployment.serve(repository) as served:
            idle = _idle_memory(served)
            works = chats.Works(scratch, served.tokenizer)
            with lineup.start(names, served, python, scratch, sweeping=effort.tries > 0) as rows:
                sweep(rows, levels, works.of(effort.sweep_tokens), effort.tries)
                play(rows, effort.repeats, works.of(effort.tokens))
    figures = figures_of(rows) | idle | {"boot_to_first_token_s": median(boots)}
    found = [row.to_json(level) for row in rows for level in levels]
    settings = {"tokens": effort.tokens, "repeats": effort.repeats, "boots_s": boots, "peers": names}
    versions = record.versions() | {"peers": environment.versions(python, PACKAGES)}
    record.write("llm_cpu", figures, found, arguments, settings=settings, versions=versions)
    tables.show(rows, levels)
    record.print_figures(figures)
    return 0 if arguments.quick else bars.tell(BARS, figures)


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the ratios and differences between rows that ran side by side, with the best of the others."""
    (ours,) = (row for row in rows if row.name == "builder")
    raws = [row for row in rows if row.kind == "raw" and row.same_artifact]
    peers = [row for row in rows if row.kind == "served" and row is not ours]
    figures: dict[str, float] = {}
    for level in (1, 8, 16):
        if raws and level in ours.samples:
            ratios = [numbers.paired_ratio(ours.rates(level), raw.rates(level)) for raw in raws]
            figures[f"served_over_raw_c{level}"] = min(ratios)
    for level in (1, 16):
        if peers and level in ours.samples:
            best = top(peers, level)
            ratio = numbers.paired_ratio(ours.rates(level), best.rates(level))
            figures[f"served_over_best_peer_c{level}"] = ratio
    if raws and 1 in ours.samples:
        added = [numbers.paired_difference(ours.delays(1), raw.delays(1)) for raw in raws]
        figures["ttft_added_ms_c1"] = max(added)
    return figures


def _boot_once(repository: Path) -> float:
    """Return the seconds from the start of `builder serve` to the first token of a chat."""
    with deployment.serve(repository) as served:
        return deployment.first_token(served, chats.read()[0]) - served.started


def _idle_memory(served: Deployment) -> dict[str, float]:
    """Return what the whole deployment holds after one chat, in MB and over what it may hold."""
    deployment.first_token(served, chats.read()[0])
    time.sleep(2)
    held = memory.megabytes(served.pid)["pss"]
    bound = 2 * memory.weights_megabytes(served.model) + IDLE_BASE_MB
    return {"idle_memory_mb": held, "idle_memory_over_bound": held / bound}


def _known_peers(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in lineup.PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no peer is named {' or '.join(unknown)}; there are {', '.join(lineup.PEERS)}"
        )
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer in two minutes, without bars")
    every = ",".join(lineup.PEERS)
    parser.add_argument("--peers", type=_known_peers, metavar="NAMES", help=f"some of {every}; default: all")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
