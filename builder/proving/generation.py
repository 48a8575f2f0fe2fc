"""Proof of a model that generates: its golden answers, and how far its tokens are from its source's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder import files, house, modules
from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Plan
from builder.planning import precision
from builder.proving import prompts
from builder.proving.child import run
from builder.quantization import Budget
from builder.target import Target

Progress = Callable[[str, float], None]

UNROUNDED = 16
"""Bits of a weight as checkpoints have it."""


@dataclass(frozen=True)
class Divergence:
    """What was proven. `divergence` in nats; `agreement` and `ties` out of `tokens`.

    `golden` is the file with prompts and answers that `verify` asks the live endpoint for;
    `worst` names the prompts with the largest divergence, worst first.
    """

    golden: Path
    prompts: int
    tokens: int
    agreed: int
    ties: int
    divergence: float
    divergence_p99: float
    worst: tuple[str, ...]
    reference: str

    @property
    def agreement(self) -> float:
        return (self.agreed + self.ties) / max(1, self.tokens)

    def rows(self) -> list[tuple[str, str]]:
        """Return it for people: what was looked at, and the figure."""
        return [
            ("compared with", self.reference),
            ("golden answers", f"{self.prompts} prompts, {self.tokens} tokens"),
            ("the source's own choice", f"{self.agreed} of {self.tokens} ({self.ties} ties)"),
            ("agreement", f"{self.agreement:.1%}"),
            (
                "mean divergence",
                f"{self.divergence:.4f} nats (99th percentile {self.divergence_p99:.3f})",
            ),
            ("furthest from the source", ", ".join(self.worst)),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps; the golden file by its digest."""
        plain = {name: value for name, value in asdict(self).items() if name != "golden"}
        digest = hashlib.sha256(self.golden.read_bytes()).hexdigest()
        return {**plain, "agreement": round(self.agreement, 6), "golden_sha256": digest}


def prove(plan: Plan, artifact: Artifact, progress: Progress) -> Divergence:
    """Run artifact and source on the golden prompts; results are kept beside the artifact.

    Raises:
        ProofError: the artifact does not run, or lost more than its quantization's budget.
    """
    with files.translated(ProofError, "writing the proof"):
        home = artifact.model.parent / f"proof-{_identity(plan)[:16]}"
        if not (home / "proof.json").is_file():
            _measure(plan, artifact, home, progress)
        rows = json.loads((home / "proof.json").read_text(encoding="utf-8"))
    _require_finite(rows, plan)
    evidence = _summarise(rows, home / "golden.json", _reference(plan, artifact))
    found = precision.quantization_of(plan.quantize, plan.stored, plan.cache_type, plan.dimensions)
    judge(evidence, found.budget, plan)
    return evidence


def judge(evidence: Divergence, budget: Budget, plan: Plan) -> None:
    """Raise ProofError when the evidence lies beyond the budget."""
    missed = []
    if not evidence.tokens:
        missed.append("no golden prompt was answered with a single token")
    # not a number, as a broken artifact may give, is beyond every budget
    if not evidence.divergence <= budget.divergence:
        missed.append(f"mean divergence {evidence.divergence:.4f} nats, at most {budget.divergence:g}")
    if evidence.agreement < budget.agreement:
        missed.append(f"agreement {evidence.agreement:.1%}, at least {budget.agreement:.1%}")
    if missed:
        raise ProofError(
            f"{plan.name} as {plan.target} {plan.quantize} does not answer like its source: "
            f"{'; '.join(missed)}; worst prompts: {', '.join(evidence.worst)}",
            remedy=f"{_remedy(plan)}; nothing was published",
        )


def _require_finite(rows: list[dict[str, Any]], plan: Plan) -> None:
    """Raise ProofError where the source has no answer that anything could be compared with."""
    broken = [row["id"] for row in rows if not row.get("finite", True)]
    if broken:
        raise ProofError(
            f"{plan.name}: the source itself, in float32, answers {len(broken)} of {len(rows)} golden "
            f"prompts with numbers that are infinite or none, such as {broken[0]}",
            expected="weights whose sums stay within float32",
            remedy="pass a checkpoint that is not damaged; nothing was published",
        )


def _remedy(plan: Plan) -> str:
    """Return what of that which was asked for changes what the proof sees."""
    ways = [f"leave out --set {' --set '.join(plan.settings)}"] if plan.settings else []
    # an engine that is built after the proof was not asked: its cache was no part of it
    if plan.cache_type and plan.compilation is None:
        ways.append("choose another --kv-cache")
    if plan.stored:
        ways.append("choose another checkpoint")
    elif precision.quantization_of(plan.quantize, None, "", plan.dimensions).weight_bits < UNROUNDED:
        ways.append("choose a --quantize with more bits")
    elif not ways:
        ways.append("choose another --target: no weights were quantised, so it computes something else")
    return ", or ".join(ways)


def _identity(plan: Plan) -> str:
    recipe = Path(prompts.__file__).parent
    tools = [recipe / name for name in ("golden.py", "reference.py", "source_model.py")]
    tools += modules.reached(recipe.parent, [recipe / f"{_witness(plan)}.py"], "builder")
    if plan.stored:
        tools += [
            recipe.parent / "weight_formats" / f"{plan.stored.name}.py",
            recipe.parent / "unpacking.py",
        ]
    content = [file.read_bytes() for file in (*tools, recipe.parent / "data" / "golden.toml")]
    told = [plan.name, plan.cache_type] if plan.cache_type else [plan.name]
    return hashlib.sha256(b"\0".join([*(one.encode() for one in told), *content])).hexdigest()


def _witness(plan: Plan) -> str:
    target: Target = house.plugin("targets", plan.target, option="--target")
    return target.WITNESS


def _measure(plan: Plan, artifact: Artifact, home: Path, progress: Progress) -> None:
    logs = house.cache_folder() / "logs"
    with files.staged(home) as stage:
        work = stage / "work"
        request = stage / "request.json"
        asked = {
            "name": plan.name,
            "model": str(artifact.model),
            "tokenizer": str(artifact.tokenizer),
            "witness": _witness(plan),
            "arguments": dict(plan.engine_arguments),
            "ends": artifact.settings["end_ids"],
            "out": str(work),
        }
        _run("golden", asked, request, logs / f"golden-{artifact.key[:16]}.log", progress)
        asked = {
            "source": str(artifact.source),
            "golden": str(work / "golden.json"),
            "logits": str(work / "logits"),
            "out": str(stage / "proof.json"),
        }
        _run("reference", asked, request, logs / f"reference-{artifact.key[:16]}.log", progress)
        (work / "golden.json").rename(stage / "golden.json")
        request.unlink()
        for logits in (work / "logits").iterdir():
            logits.unlink()
        (work / "logits").rmdir()
        work.rmdir()


def _run(what: str, asked: dict[str, Any], request: Path, log: Path, progress: Progress) -> None:
    doing = {"golden": "answering the golden prompts", "reference": "comparing with the source"}[what]

    def share(text: str) -> float:
        steps = re.findall(r" (\d+)/(\d+)", text)
        return int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0

    run(what, asked, request, log, lambda text: progress(doing, share(text)))
    progress(doing, 1.0)


def _reference(plan: Plan, artifact: Artifact) -> str:
    weights = f", {plan.stored.name} weights dequantised" if plan.stored else ""
    return f"transformers {artifact.tools.get('transformers', '?')} float32{weights}"


def _summarise(rows: list[dict[str, Any]], golden: Path, reference: str) -> Divergence:
    every = sorted(value for row in rows for value in row["divergence"])
    worst = sorted(rows, key=lambda row: -sum(row["divergence"]) / max(1, row["tokens"]))
    return Divergence(
        golden=golden,
        prompts=len(rows),
        tokens=sum(row["tokens"] for row in rows),
        agreed=sum(row["agreed"] for row in rows),
        ties=sum(row["ties"] for row in rows),
        divergence=round(sum(every) / max(1, len(every)), 6),
        divergence_p99=round(every[int(0.99 * (len(every) - 1))], 6) if every else 0.0,
        worst=tuple(row["id"] for row in worst[:3]),
        reference=reference,
    )
