"""Thousands of chats of random lengths, some of them left in the middle: does anything leak or fail?

    python benchmarks/soak.py [--chats 5000] [--concurrency 32] [--cancel-share 0.2] [--quick]

Each client streams over gRPC, waits a random time, and asks again; some hang up at a random token.
Memory of all server processes, /dev/shm and the engine's counters are sampled all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from workbench import bars, children, deployment, record, soaking
from workbench.bars import Bar
from workbench.deployment import Deployment
from workbench.soaking import Habits, Outcome

SECONDS_TO_SETTLE = 20.0
CHATS, QUICK_CHATS = 5000, 200

BARS = (
    Bar("errors", "==", 0),
    Bar("wrong_lengths", "==", 0, "an answer that was not cancelled had not the tokens asked for"),
    # over the second half: 5,000 chats show a leak of 4 kB a chat, and allocators move by a few MB
    Bar("memory_growth_mb", "<=", 16),
    Bar("memory_growth_share", "<=", 0.02),
    Bar("shared_memory_growth_mb", "<=", 1),
    Bar("active_at_end", "==", 0),
    Bar("waiting_at_end", "==", 0),
    Bar("cancelled_uncounted", "<=", 0, "the engine counted fewer cancels than clients left"),
)


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    chats = arguments.chats or (QUICK_CHATS if arguments.quick else CHATS)
    habits = Habits(chats, arguments.concurrency, arguments.cancel_share, arguments.tokens, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        repository = arguments.directory or deployment.build(Path(folder) / "repository")
        with deployment.serve(repository) as served:
            before = deployment.metrics(served)
            started = time.monotonic()
            outcome = asyncio.run(soaking.soak(served, habits))
            seconds = time.monotonic() - started
            settled = _settle(served)
    figures = soaking.figures_of(outcome, seconds) | _counted(outcome, before, settled)
    rows = [sample.to_json() for sample in outcome.samples]
    settings = vars(habits) | {"error_messages": dict(outcome.errors)}
    record.write("soak", figures, rows, arguments, settings=settings)
    record.print_figures(figures)
    return bars.tell(BARS, figures)


def _settle(served: Deployment) -> dict[str, float]:
    """Return the engine's counters once it is idle, or as they are when it does not become so."""
    deadline = time.monotonic() + SECONDS_TO_SETTLE
    while True:
        found = deployment.metrics(served)
        idle = not found[soaking.ACTIVE] and not found[soaking.WAITING]
        if idle or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _counted(outcome: Outcome, before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    counted = after[soaking.CANCELLED] - before[soaking.CANCELLED]
    return {
        "active_at_end": after[soaking.ACTIVE],
        "waiting_at_end": after[soaking.WAITING],
        "cancelled_uncounted": max(0.0, outcome.cancelled - counted),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHATS} chats")
    parser.add_argument("--chats", type=record.positive, help=f"default {CHATS}")
    parser.add_argument("--concurrency", type=record.positive, default=32)
    parser.add_argument("--cancel-share", type=float, default=0.2, help="share of chats left in the middle")
    parser.add_argument("--tokens", type=record.positive, default=64, help="the longest answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="serve this repository instead of a fresh build")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
