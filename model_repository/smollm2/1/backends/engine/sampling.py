"""From logits to the next token: pure numpy, one Sampler per sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import Sampling

Logits = npt.NDArray[np.float32]


class Sampler:
    """Chooses the tokens of one sequence and remembers what the penalties need."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._seen = set(prompt)
        self._ids: list[int] = []
        self._counts: Counter[int] = Counter()
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: Logits) -> tuple[int, float]:
        """Return the next id and its natural log probability under the unchanged logits.

        Args:
            logits: float32 [vocabulary]; not modified. The log probability is 0.0 unless asked for.
        """
        changed = self._adjusted(logits)
        if self._sampling.temperature == 0.0 or self._sampling.top_k == 1:
            chosen = int(changed.argmax())
        else:
            chosen = self._draw(changed)
        self._ids.append(chosen)
        self._counts[chosen] += 1
        return chosen, log_probability(logits, chosen) if self._sampling.log_probs else 0.0

    def _adjusted(self, logits: Logits) -> Logits:
        """Return logits after bias, penalties and bans; the very array where none applies."""
        sampling = self._sampling
        penalised = (
            sampling.logit_bias
            or sampling.repetition_penalty != 1.0
            or sampling.presence_penalty
            or sampling.frequency_penalty
        )
        banned = self._banned()
        if not penalised and not banned:
            return logits
        changed = logits.copy()
        for token, bias in sampling.logit_bias.items():
            changed[token] += bias
        self._penalise(changed)
        changed[banned] = -np.inf
        return changed

    def _penalise(self, logits: Logits) -> None:
        sampling = self._sampling
        if sampling.repetition_penalty != 1.0:
            seen = np.fromiter(self._seen | self._counts.keys(), dtype=np.int64)
            values = logits[seen]
            scale = np.float32(sampling.repetition_penalty)
            logits[seen] = np.where(values > 0, values / scale, values * scale)
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            tokens = np.fromiter(self._counts.keys(), dtype=np.int64)
            counts = np.fromiter(self._counts.values(), dtype=np.float32)
            logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * counts

    def _banned(self) -> list[int]:
        sampling = self._sampling
        banned = list(sampling.end_ids) if len(self._ids) < sampling.min_tokens else []
        for word in sampling.bad_ids:
            *before, last = word
            if not before or self._ids[-len(before) :] == before:
                banned.append(last)
        return banned

    def _draw(self, logits: Logits) -> int:
        sampling = self._sampling
        order = np.argsort(-logits, kind="stable")
        if 0 < sampling.top_k < len(order):
            order = order[: sampling.top_k]
        scaled = logits[order].astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled[0])
        probabilities = weights / weights.sum()
        if sampling.top_p < 1.0:
            # the smallest set that reaches top_p: all whose predecessors have not reached it yet
            before = probabilities.cumsum() - probabilities
            probabilities = probabilities[before < sampling.top_p]
        if sampling.min_p > 0.0:
            probabilities = probabilities[probabilities >= sampling.min_p * probabilities[0]]
        totals = probabilities.cumsum()
        place = np.searchsorted(totals, self._random.random() * totals[-1], side="right")
        return int(order[min(int(place), len(totals) - 1)])


def log_probability(logits: Logits, token: int) -> float:
    """Return log softmax(logits)[token], computed in float64."""
    wide = logits.astype(np.float64)
    top = wide.max()
    return float(wide[token] - top - np.log(np.exp(wide - top).sum()))
