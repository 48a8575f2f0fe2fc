"""Proof of a model that generates: its golden answers, and how far its tokens are from its source's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from builder.convert import Artifact
from builder.errors import ProofError
from builder.plan import Plan
from builder.planning import precision
from builder.proving import asking
from builder.proving.asking import Found, Rows
from builder.proving.loss import Loss
from builder.quantization import Budget

Progress = Callable[[str, float], None]

UNROUNDED = 16
"""Bits of a weight as checkpoints have it."""


@dataclass(frozen=True)
class Divergence:
    """What was proven. `divergence` in nats; `agreement` and `ties` out of `tokens`.

    `together` is after how many tokens an answer parts from the source's own, at the median: all where it
    never does. `golden` is the file with prompts and answers that `verify` asks the live endpoint for;
    `worst` names the prompts with the largest divergence, worst first.
    """

    golden: Path
    prompts: int
    tokens: int
    agreed: int
    ties: int
    together: float
    divergence: float
    divergence_p99: float
    worst: tuple[str, ...]
    reference: str
    loss: Loss

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
            ("an answer parts from the source's", f"after {self.together:g} tokens at the median"),
            (
                "mean divergence",
                f"{self.divergence:.4f} nats (99th percentile {self.divergence_p99:.3f})",
            ),
            ("furthest from the source", ", ".join(self.worst)),
            *self.loss.rows(),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps; the golden file by its digest."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("golden", "loss")}
        digest = hashlib.sha256(self.golden.read_bytes()).hexdigest()
        agreement = round(self.agreement, 6)
        return {**plain, "agreement": agreement, "golden_sha256": digest, "held_out": self.loss.to_json()}


def prove(plan: Plan, artifact: Artifact, progress: Progress) -> Divergence:
    """Run artifact and source on the golden prompts; results are kept beside the artifact.

    Raises:
        ProofError: the artifact does not run, or lost more than its quantization's budget.
    """
    found = asking.ask(plan, artifact, progress)
    _require_finite(found.rows, plan)
    evidence = _summarise(found, _reference(plan, artifact))
    chosen = precision.quantization_of(
        plan.quantize, plan.stored, plan.cache_type, plan.dimensions, plan.target
    )
    judge(evidence, chosen.budget, plan)
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
    if plan.limits is not None:
        missed += evidence.loss.missed(plan.limits)
    if missed:
        raise ProofError(
            f"{plan.name} as {plan.target} {plan.quantize} does not answer like its source: "
            f"{'; '.join(missed)}; worst prompts: {', '.join(evidence.worst)}{evidence.loss.shown()}",
            remedy=f"{_remedy(plan)}; nothing was published",
        )


def _require_finite(rows: Rows, plan: Plan) -> None:
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
    if plan.mixture is not None:
        ways.append("choose a larger --fit")
    elif plan.stored:
        ways.append("choose another checkpoint")
    elif precision.quantization_of(plan.quantize, None, "", plan.dimensions).weight_bits < UNROUNDED:
        ways.append("choose a --quantize with more bits")
    elif not ways:
        ways.append("choose another --target: no weights were quantised, so it computes something else")
    return ", or ".join(ways)


def _reference(plan: Plan, artifact: Artifact) -> str:
    weights = f", {plan.stored.name} weights dequantised" if plan.stored else ""
    return f"transformers {artifact.tools.get('transformers', '?')} float32{weights}"


def _summarise(found: Found, reference: str) -> Divergence:
    rows = found.rows
    every = sorted(value for row in rows for value in row["divergence"])
    worst = sorted(rows, key=lambda row: -sum(row["divergence"]) / max(1, row["tokens"]))
    return Divergence(
        golden=found.golden,
        prompts=len(rows),
        tokens=sum(row["tokens"] for row in rows),
        agreed=sum(row["agreed"] for row in rows),
        ties=sum(row["ties"] for row in rows),
        together=float(median(row["together"] for row in rows)) if rows else 0.0,
        divergence=round(sum(every) / max(1, len(every)), 6),
        divergence_p99=round(every[int(0.99 * (len(every) - 1))], 6) if every else 0.0,
        worst=tuple(row["id"] for row in worst[:3]),
        reference=reference,
        loss=found.loss,
    )
