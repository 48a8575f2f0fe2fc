"""What a build lost on held-out texts, beside what it may lose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from builder.quantization import Limits

WORST = 3


@dataclass(frozen=True)
class Text:
    """A text that was read: its `number` in the file, how it begins, and its mean `divergence` in nats."""

    number: int
    opening: str
    divergence: float

    def __str__(self) -> str:
        return f"{self.number} ({self.opening!r}, {self.divergence:.3f} nats)"


@dataclass(frozen=True)
class Loss:
    """Of an artifact against its source, over all tokens of all texts.

    `perplexity` is e to the mean of -log p of the tokens that came, p by the artifact, `source_perplexity` by
    the source; `divergence` the mean of KL(source || artifact) in nats and `divergence_p99` its 99th
    percentile; `agreement` the share of tokens at which both think the same one likeliest. `worst` are the
    texts with the largest divergence, worst first.
    """

    texts: str
    sha256: str
    sequences: int
    tokens: int
    source_perplexity: float
    perplexity: float
    divergence: float
    divergence_p99: float
    agreement: float
    worst: tuple[Text, ...]

    @property
    def ratio(self) -> float:
        """How many times the source's perplexity it has."""
        return self.perplexity / self.source_perplexity

    def rows(self) -> list[tuple[str, str]]:
        """Return it for people: what was looked at, and the figure."""
        return [
            ("held-out texts", f"{self.texts}: {self.sequences}, {self.tokens:,} tokens"),
            (
                "perplexity",
                f"{self.perplexity:.3f}, of the source {self.source_perplexity:.3f}: {self.ratio:.4f} times",
            ),
            (
                "divergence there",
                f"{self.divergence:.4f} nats (99th percentile {self.divergence_p99:.3f})",
            ),
            ("the same first choice", f"{self.agreement:.1%}"),
        ]

    def shown(self) -> str:
        """Return the worst texts as the end of a sentence."""
        return f"; worst texts: {', '.join(map(str, self.worst))}" if self.worst else ""

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps: of the texts, which may be the user's own, no word."""
        worst = [{"number": text.number, "divergence": text.divergence} for text in self.worst]
        return {**asdict(self), "worst": worst, "ratio": round(self.ratio, 6)}

    def missed(self, limits: Limits) -> list[str]:
        """Return what lies beyond the limits, in words; what is no number lies beyond all."""
        said = (
            (
                self.ratio <= limits.perplexity,
                f"perplexity {self.ratio:.4f} times the source's, at most {limits.perplexity:g}",
            ),
            (
                self.divergence <= limits.divergence,
                f"mean divergence {self.divergence:.4f} nats, at most {limits.divergence:g}",
            ),
            (
                self.agreement >= limits.agreement,
                f"the same first choice {self.agreement:.1%}, at least {limits.agreement:.1%}",
            ),
        )
        return [f"on held-out texts {what}" for holds, what in said if not holds]


def summarise(rows: Sequence[Mapping[str, Any]], texts: str, sha256: str) -> Loss:
    """Return the loss over all texts, from the rows of `held_out`."""
    tokens = sum(row["tokens"] for row in rows)
    every = sorted(value for row in rows for value in row["divergence"])
    read = [Text(row["text"], row["opening"], round(_mean(row["divergence"]), 6)) for row in rows]
    return Loss(
        texts=texts,
        sha256=sha256,
        sequences=len(rows),
        tokens=tokens,
        source_perplexity=_perplexity(sum(row["source_loss"] for row in rows), tokens),
        perplexity=_perplexity(sum(row["loss"] for row in rows), tokens),
        # a sum of rounded numbers may end a little below zero, which is not said
        divergence=round(_mean(every), 6) + 0.0,
        divergence_p99=round(every[int(0.99 * (len(every) - 1))], 6) if every else 0.0,
        agreement=round(sum(row["agreed"] for row in rows) / max(1, tokens), 6),
        worst=tuple(sorted(read, key=_divergence)[:WORST]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(1, len(values))


def _divergence(text: Text) -> float:
    """Return what sorts the worst first, and what is no number before all others."""
    return -text.divergence if math.isfinite(text.divergence) else -math.inf


def _perplexity(loss: float, tokens: int) -> float:
    """Return e to the mean loss in nats; infinite where that is beyond all numbers."""
    try:
        return round(math.exp(loss / max(1, tokens)), 6)
    except OverflowError:
        return math.inf
