"""`--fit` at several sizes: what each build lost, and what its engine's process takes when it is served.

    python benchmarks/fit.py [--sizes 410MB,414MB,418MB] [--work FOLDER] [--quick]

While it is served, every sequence grows to its longest at once, and a prompt is scored token by token.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from workbench import bars, children, record
from workbench.bars import Bar

from builder import pipeline, serve
from builder.measuring import memory
from builder.plan import Options
from builder.planning import byte_sizes
from builder.served import read_repository
from builder.server import Server
from builder.triton_client import Client

CONTEXT, CONCURRENCY = 1024, 4
SIZES = "410MB,414MB,418MB"
BARS = (
    Bar("fit_most_over_size", "<=", 1.0, "what was asked for is a limit"),
    Bar("fit_quality_monotonic", "==", 1, "more room may not lose more"),
)
PATIENCE = 1800.0
WORDS = "The quick brown fox jumps over the lazy dog, and then it rests. "


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fit-", dir=arguments.work) as folder:
        for size in arguments.sizes.split(","):
            rows.append(_row(size, Path(folder), arguments.evaluate))
            told = "  ".join(f"{name} {value}" for name, value in rows[-1].items() if name != "types")
            print(told, flush=True)
    lost = [row["divergence"] for row in rows]
    figures = {
        "fit_most_over_size": max(row["peak_mb"] / row["size_mb"] for row in rows),
        "fit_quality_monotonic": float(lost == sorted(lost, reverse=True)),
    }
    record.write("fit", figures, rows, arguments)
    record.print_figures(figures)
    return 0 if arguments.quick else bars.tell(BARS, figures)


def _row(size: str, folder: Path, texts: str | None) -> dict[str, Any]:
    """Build and serve one size; sizes are in MB of 10^6 bytes, `divergence` in nats."""
    fit = byte_sizes.read("--sizes", size)
    options = Options(fit=fit, max_context=CONTEXT, concurrency=CONCURRENCY, evaluation=texts)
    built = pipeline.build("smollm2", folder / size, options, verifying=False)
    mixture, lost = built.plan.mixture, built.evidence.to_json()["held_out"]
    assert mixture is not None
    with serve.boot(folder / size) as server:
        begun = _engine(server)
        _fill(server, folder / size)
        grown = _engine(server)
        whole = memory.used(int(server.http.rpartition(":")[2]))
    return {
        "size_mb": fit / 1e6,
        "planned_mb": round(built.plan.memory.used / 1e6, 1),
        "weights_mb": round(mixture.size / 1e6, 1),
        "begun_mb": round(begun["pss"] / 1e6, 1),
        "grown_mb": round(grown["pss"] / 1e6, 1),
        "peak_mb": round(grown["peak_rss"] / 1e6, 1),
        "server_mb": whole["pss"],
        "expected_loss": mixture.loss,
        "perplexity_ratio": round(lost["perplexity"] / lost["source_perplexity"], 5),
        "divergence": lost["divergence"],
        "agreement": lost["agreement"],
        "types": {kind: list(mixture.tensors.values()).count(kind) for kind in set(mixture.tensors.values())},
    }


def _engine(server: Server) -> dict[str, float]:
    """Return the bytes of the process that has the engine: the largest of the server's."""
    return max(memory.each(int(server.http.rpartition(":")[2])), key=lambda sizes: sizes["peak_rss"])


def _fill(server: Server, repository: Path) -> None:
    """Let all sequences grow to their longest at once, then have a prompt scored."""
    client = Client(server.http, server.grpc, None, read_repository(repository).configs, patience=PATIENCE)
    long = WORDS * (CONTEXT // 24)

    def ask(number: int) -> None:
        fields = {"text_input": f"{number} {long}", "max_tokens": 300, "end_id": -1, "temperature": 0.0}
        client.generate("smollm2", fields)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(ask, range(CONCURRENCY)))
    client.generate("smollm2", {"text_input": long, "max_tokens": 1, "prompt_logprobs": True})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help=f"default {SIZES}")
    parser.add_argument("--evaluate", help="texts to measure what was lost on; default: the shipped ones")
    parser.add_argument("--work", type=Path, help="a folder for the repositories; default: the temporary one")
    parser.add_argument("--quick", action="store_true", help="misses no bar, writes no record")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
