"""From logits to the next token: pure numpy, one Sampler per sequence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backends.engine.guided import Guided
from backends.engine.protocol import InvalidRequest, Sampling, Step, Top

Logits = npt.NDArray[np.float32]

LIKELIEST = 1024


class Sampler:
    """Chooses the tokens of one sequence and remembers what the penalties need.

    A sequence that is `guided` gets no token that its guide forbids, whatever bias and penalties say, and
    ends when nothing may follow any more, `min_tokens` or not.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], guided: Guided | None = None) -> None:
        self._sampling = sampling
        self._guided = guided
        self._seen = set(prompt)
        self._ids: list[int] = []
        self._counts: Counter[int] = Counter()
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: Logits) -> tuple[int, float]:
        """Return the next id and its natural log probability under the unchanged logits.

        Args:
            logits: float32 [vocabulary], contiguous; as it was when this returns. The log probability
                is 0.0 unless asked for.

        Raises InvalidRequest when nothing is left to choose.
        """
        changed = self._penalised(logits)
        if self._guided:
            changed = self._guided.held(changed)
        banned = self._banned()
        chosen, value = self._pick_but(banned, changed) if banned else self._pick(changed)
        if not math.isfinite(value):
            guide = ", the guide" if self._guided else ""
            raise InvalidRequest(f"bad_words, logit_bias{guide} and min_tokens together forbid every token")
        self._ids.append(chosen)
        self._counts[chosen] += 1
        return chosen, log_probability(logits, chosen) if self._sampling.log_probs else 0.0

    def step(self, logits: Logits) -> Step:
        """Return the next token as an engine's step, its end included; see `choose`."""
        if self._guided and self._guided.is_complete():
            return Step((), finish_reason="stop")
        token, value = self.choose(logits)
        asked = self._sampling
        if token in asked.end_ids:
            return Step((), finish_reason="stop")
        return Step(
            (token,),
            (value,) if asked.log_probs else (),
            self._end_with(token),
            tops=(likeliest(logits, asked.top_log_probs),) if asked.top_log_probs else (),
        )

    def _end_with(self, token: int) -> str | None:
        """Return why a token is the last one, if it is."""
        if self._guided:
            self._guided.take(token)
            if self._guided.is_complete():
                return "stop"
        return "length" if len(self._ids) >= self._sampling.max_tokens else None

    def _pick_but(self, banned: list[int], logits: Logits) -> tuple[int, float]:
        # a copy of the vocabulary for the sake of a few ids would cost more than the choice itself
        kept = logits[banned]
        logits[banned] = -np.inf
        picked = self._pick(logits)
        logits[banned] = kept
        return picked

    def _pick(self, logits: Logits) -> tuple[int, float]:
        """Return an id and its logit; one that is not finite when there is nothing to pick."""
        chosen = int(logits.argmax())
        if self._sampling.temperature and self._sampling.top_k != 1 and math.isfinite(logits[chosen]):
            chosen = self._draw(logits)
        return chosen, float(logits[chosen])

    def _penalised(self, logits: Logits) -> Logits:
        """Return logits after bias and penalties; the very array where none applies."""
        sampling = self._sampling
        applies = (
            sampling.logit_bias
            or sampling.repetition_penalty != 1.0
            or sampling.presence_penalty
            or sampling.frequency_penalty
        )
        if not applies:
            return logits
        changed = logits.copy()
        for token, bias in sampling.logit_bias.items():
            changed[token] += bias
        self._penalise(changed)
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
        places = np.arange(len(logits))
        if 0 < sampling.top_k < len(logits):
            places = np.argpartition(-logits, sampling.top_k - 1)[: sampling.top_k]
        scaled = logits[places].astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled.max())
        probabilities = weights / weights.sum()
        if sampling.top_p < 1.0:
            kept = nucleus(probabilities, sampling.top_p)
            places, probabilities = places[kept], probabilities[kept]
        if sampling.min_p > 0.0:
            kept = np.flatnonzero(probabilities >= sampling.min_p * probabilities.max())
            places, probabilities = places[kept], probabilities[kept]
        totals = probabilities.cumsum()
        place = np.searchsorted(totals, self._random.random() * totals[-1], side="right")
        return int(places[min(int(place), len(totals) - 1)])


def nucleus(probabilities: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.int64]:
    """Return the places of the smallest set of likeliest tokens that reaches `share`, likeliest first.

    Sorting a whole vocabulary takes longer than many a step of a model, so the few likeliest are
    looked at first.
    """
    few = min(LIKELIEST, len(probabilities))
    likely = np.argpartition(-probabilities, few - 1)[:few]
    for places in (likely, np.arange(len(probabilities))):
        ordered = places[np.argsort(-probabilities[places], kind="stable")]
        sums = probabilities[ordered].cumsum()
        if sums[-1] >= share:
            break
    # all whose predecessors have not reached the share yet
    kept: npt.NDArray[np.int64] = ordered[sums - probabilities[ordered] < share]
    return kept


def log_probability(logits: Logits, token: int) -> float:
    """Return log softmax(logits)[token], computed in float64."""
    return float(logits[token]) - _log_sum(logits)


def likeliest(logits: Logits, count: int) -> Top:
    """Return the `count` tokens with the highest logits, all where there are fewer; equals by their ids."""
    count = min(count, len(logits))
    # all that reach the last one's logit: which of several equals a partition takes is chance
    lowest = np.partition(logits, -count)[-count]
    places = np.flatnonzero(logits >= lowest)
    best = places[np.argsort(-logits[places], kind="stable")][:count]
    total = _log_sum(logits)
    return tuple((int(place), float(logits[place]) - total) for place in best)


def _log_sum(logits: Logits) -> float:
    wide = logits.astype(np.float64)
    top = wide.max()
    return float(top + np.log(np.exp(wide - top).sum()))
