"""What a server answers, id by id, and how likely it finds a prompt; and how two such answers compare."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Any

from workbench.deployment import Deployment

from builder.triton_client import Client
from builder.triton_client.client import Raw as Tensor

Ids = list[int]
PATIENCE = 120.0


def greedy(
    served: Deployment, model: str, prompts: Sequence[Sequence[int]], tokens: int, at_once: int
) -> list[Ids]:
    """Return the ids that our server makes of prompts, streamed over gRPC; raise SystemExit for an error."""

    def one(ids: Sequence[int]) -> Ids:
        wanted = {"max_tokens": [tokens], "end_id": [-1]}
        answer = _asked(served, model, ids, wanted, stream=True)
        return [token for reply in answer.replies for token in reply.ids]

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, prompts))


def scores(served: Deployment, model: str, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the log probabilities that our server gives each id of prompts but the first."""
    found = []
    for ids in prompts:
        answer = _asked(served, model, ids, {"max_tokens": [1]}, stream=False, prompt_logprobs=True)
        found.append([float(value) for value in answer.replies[0].outputs["prompt_log_probs"]])
    return found


def _asked(
    served: Deployment, model: str, ids: Sequence[int], numbers: dict[str, list[int]], **flags: bool
) -> Any:
    inputs = {name: Tensor("INT32", (1, 1), value) for name, value in numbers.items()}
    inputs |= {name: Tensor("BOOL", (1, 1), [value]) for name, value in flags.items()}
    inputs["input_ids"] = Tensor("INT32", (1, len(ids)), list(ids))
    answer = Client(served.http, served.grpc, served.metrics, {}, PATIENCE).stream(model, inputs)
    if answer.error or not answer.replies:
        raise SystemExit(f"{model} was asked in vain: {answer.error or 'no response'}")
    return answer


def compared(one: Sequence[Ids], other: Sequence[Ids]) -> dict[str, Any]:
    """Return how many answers are the same, and the places from which the others differ."""
    pairs = list(zip(one, other, strict=True))
    places = [_first_difference(a, b) for a, b in pairs if list(a) != list(b)]
    tokens = sum(max(len(a), len(b)) for a, b in pairs)
    same = sum(min(len(a), len(b)) if list(a) == list(b) else _first_difference(a, b) for a, b in pairs)
    return {
        "answers": len(pairs),
        "equal": len(pairs) - len(places),
        "share": round((len(pairs) - len(places)) / len(pairs), 4) if pairs else 0.0,
        "tokens_before_difference": round(same / tokens, 4) if tokens else 0.0,
        "first_differences": sorted(places),
    }


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def differences(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return how far log probabilities of the same prompts lie apart.

    `mean` and `worst` are of single tokens, `worst_prompt` of the mean over a prompt, `of_all` of the mean
    over all of them, which is what a perplexity is made of.
    """
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(ours, theirs, strict=True)]
    single = sorted(abs(a - b) for prompt in pairs for a, b in prompt)
    return {
        "tokens": len(single),
        "mean": round(fmean(single), 6),
        "p99": round(single[int(0.99 * (len(single) - 1))], 6),
        "worst": round(single[-1], 6),
        "of_all": round(abs(fmean(a - b for prompt in pairs for a, b in prompt)), 6),
        "worst_prompt": round(max(abs(fmean(a - b for a, b in prompt)) for prompt in pairs), 6),
    }
