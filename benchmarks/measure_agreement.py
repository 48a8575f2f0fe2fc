"""`builder measure` against an independent client, aiperf, on the same load: do they tell the same?

    python benchmarks/measure_agreement.py [--quick] [--repeats 5]

The figures are of a paced model, which no client can slow: what differs there is the measuring. The
rows and figures of the real model say what a client's own processor time does to a small machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from workbench import aiperf, bars, chats, children, deployment, environment, numbers, record
from workbench.aiperf import Found, Load
from workbench.bars import Bar
from workbench.children import BENCHMARKS
from workbench.deployment import Deployment

PACED = BENCHMARKS / "paced"
TOLERANCE = 0.05
NAMES = {field.name: f"{field.name}_ratio" for field in fields(Found)}
BARS = tuple(
    Bar(name, comparison, bound)
    for name in NAMES.values()
    for comparison, bound in ((">=", 1 - TOLERANCE), ("<=", 1 + TOLERANCE))
)


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    python = environment.ensure(BENCHMARKS / ".venv-aiperf", BENCHMARKS / "requirements-aiperf.txt")
    with tempfile.TemporaryDirectory(prefix="agreement-") as folder:
        scratch = Path(folder)
        repository = deployment.build(scratch / "repository")
        tokens_of = aiperf.tokenizer(deployment.tokenizer(repository), scratch / "tokenizer")
        rows = []
        for model, served in (("paced", PACED), (deployment.NAME, repository)):
            if model == "paced" or not arguments.quick:
                with deployment.serve(served) as running:
                    load = _load(model, running, arguments.quick)
                    rows += _compare(python, load, running, tokens_of, scratch, repeats)
    figures = _ratios(rows, "paced", "") | _ratios(rows, deployment.NAME, f"{deployment.NAME}_")
    versions = record.versions() | environment.versions(python, ["aiperf"])
    record.write("measure_agreement", figures, rows, arguments, versions=versions)
    record.print_figures(figures)
    return bars.tell(BARS, figures)


def _load(model: str, running: Deployment, quick: bool) -> Load:
    texts = [chat[-1]["content"] for chat in chats.spread(chats.read(), 16)]
    requests, concurrency, tokens = (16, 4, 16) if quick else (64, 4, 64)
    return Load(model, f"http://{running.http}", texts, requests, concurrency, tokens)


def _compare(
    python: Path,
    load: Load,
    running: Deployment,
    tokens_of: Path,
    scratch: Path,
    repeats: int,
) -> list[dict[str, Any]]:
    """Let both clients run in turn, each first every other time."""
    rows = []
    for repeat in range(repeats):
        clients = {
            "builder measure": lambda: _measure(load, running, scratch),
            "aiperf": lambda: aiperf.run(python, load, tokens_of, scratch / f"{load.model}-{repeat}"),  # noqa: B023
        }
        for client in sorted(clients, reverse=repeat % 2 == 1):
            found = clients[client]()
            rows.append({"model": load.model, "repeat": repeat, "client": client, **asdict(found)})
            print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def _measure(load: Load, running: Deployment, scratch: Path) -> Found:
    prompts = scratch / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in load.texts), encoding="utf-8")
    document = deployment.measure(
        *(load.model, "--door", "http", "--url", load.url),
        *("--grpc-url", running.grpc, "--metrics-url", running.metrics),
        *("--concurrency", str(load.concurrency), "--requests", str(load.requests)),
        *("--output-tokens", str(load.tokens), "--prompts", str(prompts)),
        *("--no-marks", "--warm-up", "2"),
    )
    run = document["runs"][0]
    if run["errors"]:
        raise SystemExit(f"builder measure had errors: {run['error_messages']}")
    return Found(
        run["requests_per_second"], run["tokens_per_second"], run["ttft_ms"]["p50"], run["latency_ms"]["p50"]
    )


def _ratios(rows: list[dict[str, Any]], model: str, prefix: str) -> dict[str, float]:
    """Return ours over theirs, the medians of paired runs."""
    ratios = {}
    for name, figure in NAMES.items():
        values = {
            client: {
                row["repeat"]: row[name] for row in rows if (row["model"], row["client"]) == (model, client)
            }
            for client in ("builder measure", "aiperf")
        }
        if values["aiperf"]:
            ratios[prefix + figure] = numbers.paired_ratio(values["builder measure"], values["aiperf"])
    return ratios


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer: the paced model only")
    parser.add_argument("--repeats", type=int, help="default 5")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
