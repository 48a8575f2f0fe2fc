"""Text encoders on a GPU: how long one text takes through the server, and what serving costs under load.

    python benchmarks/encoder_gpu.py [--quick] [--gpu h200] [--cases minilm_fp32,minilm_fp16] [--built FOLDER]

all-MiniLM-L6-v2, and a model of bert-base-uncased's shape with random weights, each in float32 and float16.
Served rows are asked over gRPC for one text at a time, 1 and 64 at once; the text is tokenised by the server.
One at once is served a second time by `builder serve --low-latency`.
The raw row is ONNX Runtime in a process of its own with the tokenizer before it, at its best batch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from encoder import gpu_cases, gpu_figures, gpu_memory, gpu_raw, gpu_texts, ours, stage
from encoder.gpu_cases import Built, Case
from encoder.gpu_figures import AWAKE, LEVELS, OURS, RAW, TOKENS, Row
from encoder.gpu_load import Clients, Sample
from encoder.gpu_raw import Raw, Settings
from workbench import bars, children, deployment, record

CASES = {case.name: case for case in gpu_cases.CASES}
_ALIKE = 0.999
"""The least cosine of our vectors to those of the ordinary export; float16 rounds."""

_EXAMPLES = 4


@dataclass(frozen=True)
class Effort:
    """Repeats, the seconds of a sample (served by concurrency, raw, of each try), and what raw tries."""

    repeats: int
    served: dict[int, float]
    raw: float
    tried: float
    candidates: Sequence[Settings]


FULL = Effort(5, {1: 1.0, 64: 1.5}, 0.7, 0.25, gpu_raw.SETTINGS)
QUICK = Effort(1, {1: 0.5, 64: 0.8}, 0.4, 0.15, gpu_raw.USUAL)


@dataclass(frozen=True)
class Ring:
    """All that runs for one case."""

    built: Built
    served: deployment.Deployment
    raw: Raw
    clients: Clients
    texts: dict[int, list[str]]
    effort: Effort

    def sample(self, row: Row) -> Sample:
        """Run a row once."""
        if row.way == RAW:
            return self.raw.sample(dict(row.settings), row.tokens, self.effort.raw)
        batches = ours.Batches(self.served.metrics, self.built.encoder)
        seconds = self.effort.served[row.level]
        texts, model = self.texts[row.tokens], self.built.case.model
        found = self.clients.sample(self.served.grpc, model, texts, row.level, seconds)
        return replace(found, mean_batch=batches.mean())


def main() -> int:
    arguments = _arguments()
    children.end_like_a_person()
    children.let_tokenizers_use_threads()
    effort = QUICK if arguments.quick else FULL
    gpu = None if arguments.rehearse else arguments.gpu
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="encoder-gpu-") as scratch:
        folder = arguments.built or Path(scratch) / "built"
        with Clients() as clients:
            for case in arguments.cases:
                built = gpu_cases.built(case, folder, gpu)
                rows += _play(built, clients, effort, Path(scratch), "cuda" if gpu else "cpu")
    told = gpu_figures.of(rows)
    gpu_figures.show(rows)
    record.print_figures(told)
    if arguments.rehearse:
        return 0
    machine = record.machine() | {"gpu": gpu_memory.name()}
    weights = {"minilm": "all-MiniLM-L6-v2", "bert-base": "random, shape of bert-base-uncased"}
    found = [row.to_json() for row in rows]
    record.write(
        "encoder_gpu", told, found, arguments, machine=machine, weights=weights, versions=_versions()
    )
    return 0 if arguments.quick else bars.tell(gpu_figures.BARS, told)


def _play(built: Built, clients: Clients, effort: Effort, logs: Path, device: str) -> list[Row]:
    """Serve one case, and run its rows in turn, every other time the other way round."""
    case = built.case
    texts = {tokens: gpu_texts.of(built.tokenizer, tokens) for tokens in TOKENS}
    told = {**built.files, "device": device, "tokens": list(TOKENS)}
    with Raw(told, logs / f"{case.name}.log") as raw:
        with deployment.serve(built.repository) as served:
            ring = Ring(built, served, raw, clients, texts, effort)
            _require_alike(ring)
            rows = list(_rows(ring))
            _repeat(ring, rows)
            for row in rows:
                row.gpu_mb = gpu_memory.megabytes(served.pid if row.way == OURS else raw.pid)
        # apart: the processors of the whole machine are kept awake, which would help the others too
        with deployment.serve(built.repository, more=["--low-latency"]) as awake:
            alone = [Row(case.name, AWAKE, tokens, 1) for tokens in TOKENS]
            _repeat(replace(ring, served=awake), alone)
    return rows + alone


def _repeat(ring: Ring, rows: Sequence[Row]) -> None:
    for repeat in range(ring.effort.repeats):
        for row in rows if repeat % 2 == 0 else rows[::-1]:
            row.samples[repeat] = ring.sample(row)
        _say(f"{ring.built.case.name}, {rows[0].way}: repeat {repeat + 1} of {ring.effort.repeats}")


def _rows(ring: Ring) -> Iterator[Row]:
    for tokens in TOKENS:
        for level in LEVELS:
            yield Row(ring.built.case.name, OURS, tokens, level)
            candidates = gpu_raw.ALONE if level == 1 else ring.effort.candidates
            rates = [ring.raw.sample(one, tokens, ring.effort.tried).texts_per_second for one in candidates]
            rate, best = max(zip(rates, candidates, strict=True), key=lambda pair: pair[0])
            _say(f"{ring.built.case.name}, {tokens} tokens, {level} at once: raw takes {best}, {rate:.0f}/s")
            yield Row(ring.built.case.name, RAW, tokens, level, best)


def _require_alike(ring: Ring) -> None:
    """Raise SystemExit unless the served vectors are those of the ordinary export."""
    import numpy as np
    from encoder import doors, load

    for some in ring.texts.values():
        examples = some[:_EXAMPLES]
        wanted = ring.raw.vectors("padded", examples)
        door = doors.TritonGrpc(ring.served.grpc, ring.built.case.model)
        found = load.vectors(door, examples)
        least = min(
            stage.cosine(a.astype(np.float64), np.array(b)) for a, b in zip(found, wanted, strict=True)
        )
        if not least >= _ALIKE:
            raise SystemExit(f"{ring.built.case.name}: served vectors differ, cosine {least:.6f}")


def _versions() -> dict[str, str]:
    import onnxruntime

    return record.versions() | {"onnxruntime": onnxruntime.__version__}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _known_cases(text: str) -> Sequence[Case]:
    unknown = [name for name in text.split(",") if name not in CASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no case is {' or '.join(unknown)}; there are {', '.join(CASES)}")
    return [CASES[name] for name in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough answer, without bars")
    parser.add_argument("--gpu", default="h200", help="what to build for, as `builder plan` knows it")
    parser.add_argument(
        "--cases",
        type=_known_cases,
        default=list(CASES.values()),
        metavar="NAMES",
        help=f"some of {','.join(CASES)}; default: all",
    )
    parser.add_argument("--built", type=Path, help="folder of what is built, kept for another time")
    parser.add_argument("--rehearse", action="store_true", help="all on the CPU: does it run? no record")
    parser.add_argument("--output", type=Path, help=record.WHERE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
