"""Proof of a model that answers in one pass: how far its outputs are from its source's, over a sweep."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

from builder import architecture, files, house, modules
from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Plan
from builder.planning.single_pass import PRECISION
from builder.proving.child import run
from builder.quantization import Quantization, Tolerance

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Parity:
    """What was proven over `cases` inputs, each alone and in batches.

    `cosine` is the least and `error` the largest difference to the source in float32; `drift` the largest
    difference to the artifact's own answer to the same input alone. `rank_correlation` is Spearman's, of the
    likeness of real texts to each other, None where there are none.
    """

    golden: Path
    cases: int
    cosine: float
    error: float
    drift: float
    worst: str
    where: str
    rank_correlation: float | None
    reference: str
    layouts: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return it for people: what was looked at, and the figure."""
        found = [
            ("compared with", self.reference),
            (
                "inputs",
                f"{self.cases}, each alone and in batches of many sizes, {' and '.join(self.layouts)}",
            ),
            ("least cosine", f"{self.cosine:.7f}"),
            ("largest error", f"{self.error:.2e}"),
            ("beside others", f"differs by {self.drift:.2e} from the answer alone, at the most"),
            ("furthest from the source", f"{self.worst[:60]} ({self.where})"),
        ]
        if self.rank_correlation is not None:
            found.append(("likeness of texts", f"rank correlation {self.rank_correlation:.5f}"))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps; the golden file by its digest."""
        plain = {name: value for name, value in asdict(self).items() if name != "golden"}
        return {**plain, "golden_sha256": hashlib.sha256(self.golden.read_bytes()).hexdigest()}


def prove(plan: Plan, artifact: Artifact, progress: Progress) -> Parity:
    """Run artifact and source on the same inputs; results are kept beside the artifact.

    Raises:
        ProofError: the artifact does not run, or lies further from its source than its quantization may.
    """
    quantization: Quantization = house.plugin(
        "quantizations", plan.quantize, option="--quantize"
    ).QUANTIZATION
    with files.translated(ProofError, "writing the proof"):
        home = artifact.model.parent / f"proof-{_identity(plan)[:16]}"
        if not (home / "proof.json").is_file():
            _measure(plan, artifact, quantization.tolerance, home, progress)
        proof = json.loads((home / "proof.json").read_text(encoding="utf-8"))
    evidence = _summarise(proof, home / "golden.json", quantization.tolerance)
    judge(evidence, quantization.tolerance, plan)
    return evidence


def judge(evidence: Parity, tolerance: Tolerance, plan: Plan) -> None:
    """Raise ProofError when the evidence lies beyond the tolerance."""
    missed = []
    if not evidence.cases:
        missed.append("no input was compared")
    # not a number, as a broken artifact may give, is beyond every tolerance
    if not evidence.cosine >= tolerance.cosine:
        missed.append(f"cosine {evidence.cosine:.7f}, at least {tolerance.cosine:g}")
    if not evidence.error <= tolerance.error:
        missed.append(f"error {evidence.error:.2e}, at most {tolerance.error:g}")
    if missed:
        raise ProofError(
            f"{plan.name} as {plan.target} {plan.quantize} does not answer like its source: "
            f"{'; '.join(missed)}; worst input: {evidence.worst!r} ({evidence.where})",
            remedy="choose a --quantize with more bits; nothing was published"
            if plan.quantize != PRECISION
            else "take a model of another kind, or serve this one by a Python model; nothing was published",
        )


def _identity(plan: Plan) -> str:
    home = Path(__file__).parent
    # a family's original is named by its exporter, or by the library that its model is of
    names = {_exporter(plan), plan.model_type}
    originals = [home / "originals" / f"{name}.py" for name in sorted(names)]
    roots = [home / "parity.py", home / "samples" / f"{plan.samples}.py", *originals]
    tools = modules.reached(home, [file for file in roots if file.is_file()], "builder.proving")
    shipped = house.folder("data") / "texts.toml"
    told = [plan.name, plan.pipeline, str(plan.concurrency), str(plan.memory.context), str(plan.truncates)]
    content = [file.read_bytes() for file in (*tools, shipped)]
    return hashlib.sha256(b"\0".join([*(one.encode() for one in told), *content])).hexdigest()


def _exporter(plan: Plan) -> str:
    return architecture.load(plan.model_type).EXPORTER


def _measure(plan: Plan, artifact: Artifact, tolerance: Tolerance, home: Path, progress: Progress) -> None:
    doing = "comparing with the source"

    def watch(text: str) -> None:
        steps = re.findall(r"compared (\d+)/(\d+)", text)
        progress(doing, int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0)

    with files.staged(home) as stage:
        request = stage / "request.json"
        asked = {
            "name": plan.name,
            "pipeline": plan.pipeline,
            "samples": plan.samples,
            "main": plan.main,
            "exporter": _exporter(plan),
            "model_type": plan.model_type,
            "model": str(artifact.model),
            "tokenizer": str(artifact.tokenizer),
            "source": str(artifact.source),
            "config": artifact.config,
            "settings": artifact.settings,
            "truncates": plan.truncates,
            "max_batch_size": plan.concurrency,
            # the graph of an engine is proven before there is one, and need not be where its GPU is
            "provider": "cuda" if plan.device == "gpu" and plan.compilation is None else "cpu",
            "out": str(stage),
            # JSON knows no infinity
            "tolerance": {name: value for name, value in asdict(tolerance).items() if value != inf},
            "batched": plan.graph.name,
        }
        run(
            "parity", asked, request, house.cache_folder() / "logs" / f"parity-{artifact.key[:16]}.log", watch
        )
        request.unlink()
    progress(doing, 1.0)


def _summarise(proof: dict[str, Any], golden: Path, tolerance: Tolerance) -> Parity:
    rows = proof["rows"]
    worst = max(rows, key=lambda row: _used(row, tolerance), default={"id": "", "where": ""})
    return Parity(
        golden=golden,
        cases=len(rows),
        cosine=_worst(min, [row["cosine"] for row in rows], 1.0),
        error=_worst(max, [row["error"] for row in rows], 0.0),
        drift=_worst(max, [row["drift"] for row in rows], 0.0),
        worst=worst["id"],
        where=worst["where"],
        rank_correlation=proof["rank_correlation"],
        reference=proof["reference"],
        layouts=tuple(proof["layouts"]),
    )


def _worst(choose: Callable[..., float], values: list[float], none: float) -> float:
    # min and max find what is not a number only where it comes first
    return nan if any(isnan(value) for value in values) else choose(values, default=none)


def _used(row: dict[str, Any], tolerance: Tolerance) -> float:
    """Return how much of the tolerance a row uses, 1 for all of it; infinite for what is not a number."""
    shares = ((1 - row["cosine"]) / (1 - tolerance.cosine), row["error"] / tolerance.error)
    return inf if any(isnan(share) for share in shares) else max(shares)
