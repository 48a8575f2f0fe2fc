"""What a request asks for in the words of TensorRT-LLM's SamplingParams, and what each version does with it.

Read in the sources of 1.0 to 1.4 (tensorrt_llm/sampling_params.py, docs/source/features/sampling.md). Up to
1.3.0rc25 there are two samplers, and the default one takes penalties, bad words, seeds and min_p and silently
ignores them (https://github.com/NVIDIA/TensorRT-LLM/issues/9442); later there is one, which knows them all.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from backends.engine.protocol import Guide, InvalidRequest, Sampling

ONE_SAMPLER = (1, 3, 0, 26)
"""The first version without the choice of a sampler."""

_RELEASED = 10_000
"""What stands in the place of the number of a release candidate in a version that is none."""

_CHOICES: Mapping[str, Any] = {
    "sampler_type": "TRTLLMSampler",
    "enable_trtllm_sampler": True,
    "use_torch_sampler": False,
}
"""How the sampler that knows everything is chosen, the newest name first: each version takes one of them."""

_GUIDES = {"json_schema": "json", "regex": "regex", "ebnf_grammar": "grammar"}
"""Kind of a Guide -> the field of GuidedDecodingParams that takes its text."""


def release(version: str) -> tuple[int, ...]:
    """Return a version for comparing: major, minor, patch and release candidate."""
    read = re.match(r"(\d+)\.(\d+)\.(\d+)(?:rc(\d+))?", version)
    if read is None:
        return (0, 0, 0, 0)
    return (*map(int, read.groups()[:3]), int(read[4] or _RELEASED))


def sampler(version: str, known: Collection[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of LLM that chooses the sampler which knows every parameter.

    Args:
        known: the arguments that this version takes.
        arguments: those that it is told anyway; whoever chose one, or drafts tokens, has chosen.
    """
    if release(version) >= ONE_SAMPLER or {*_CHOICES, "speculative_config"} & set(arguments):
        return {}
    return next(({name: value} for name, value in _CHOICES.items() if name in known), {})


def ignored(version: str, fields: Collection[str], arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the front's inputs that this version would take and ignore, or understand otherwise.

    Args:
        fields: those of its SamplingParams.
        arguments: all that LLM is told.
    """
    found: set[str] = set()
    if release(version) < ONE_SAMPLER and not _chosen(arguments):
        found |= {"repetition_penalty", "presence_penalty", "frequency_penalty", "bad_words", "seed", "min_p"}
    if "prompt_ignore_length" not in fields:
        # both would count the prompt's tokens as if they had been generated
        found |= {"presence_penalty", "frequency_penalty"}
    if not arguments.get("guided_decoding_backend"):
        found |= {"guided_decoding_guide_type"}
    return frozenset(found)


def _chosen(arguments: Mapping[str, Any]) -> bool:
    return any(arguments.get(name) == value for name, value in _CHOICES.items() if name in arguments)


def require_heard(sampling: Sampling, ignored: Collection[str]) -> None:
    """Raise InvalidRequest for what would be ignored, and for more ends than can be held back."""
    asked = {
        "repetition_penalty": sampling.repetition_penalty != 1.0,
        "presence_penalty": sampling.presence_penalty != 0.0,
        "frequency_penalty": sampling.frequency_penalty != 0.0,
        "bad_words": bool(sampling.bad_ids),
        "seed": sampling.seed is not None and not _is_greedy(sampling),
        "min_p": sampling.min_p != 0.0 and not _is_greedy(sampling),
        "guided_decoding_guide_type": sampling.guide is not None,
    }
    refused = sorted(name for name in ignored if asked[name])
    if refused:
        raise InvalidRequest(
            f"engine tensorrt_llm, as it was told to run, does not support {', '.join(map(repr, refused))}"
        )
    if sampling.min_tokens and len(sampling.end_ids) > 1:
        raise InvalidRequest(
            f"engine tensorrt_llm holds back one end of a text until min_tokens, this model has "
            f"{len(sampling.end_ids)}: name one as end_id, or leave min_tokens out"
        )


def parameters(sampling: Sampling, prompt: int) -> dict[str, Any]:
    """Return the arguments of tensorrt_llm.SamplingParams that mean the same.

    `prompt` counts the prompt's tokens. Two are of the table only and the engine's to put into place:
    `bad_words` (lists of ids) and `guide`; `embedding_bias` is id -> bias.
    What says nothing stays None, since each version has its own defaults for a field that is named.
    """
    ends = sorted(sampling.end_ids)
    penalised = bool(sampling.presence_penalty or sampling.frequency_penalty)
    told = {
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens or None,
        # with an end of its own, a request is told nothing of the checkpoint's: the front has read them
        "end_id": ends[0] if ends else -1,
        "stop_token_ids": ends[1:] or None,
        "ignore_eos": not ends,
        "repetition_penalty": _or_none(sampling.repetition_penalty, 1.0),
        "presence_penalty": _or_none(sampling.presence_penalty, 0.0),
        "frequency_penalty": _or_none(sampling.frequency_penalty, 0.0),
        "prompt_ignore_length": prompt if penalised else None,
        "embedding_bias": dict(sampling.logit_bias) or None,
        "bad_words": [list(word) for word in sampling.bad_ids] or None,
        # the likeliest and the chosen one
        "logprobs": 1 if sampling.log_probs else None,
        "guide": guided(sampling.guide),
        "detokenize": False,
        **_drawn(sampling),
    }
    return {name: value for name, value in told.items() if value is not None}


def _drawn(sampling: Sampling) -> dict[str, Any]:
    if _is_greedy(sampling):
        # the one spelling that means it to every sampler
        return {"top_k": 1}
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": _or_none(sampling.min_p, 0.0),
        # without one, every request has the same
        "seed": secrets.randbits(63) if sampling.seed is None else sampling.seed,
    }


def _is_greedy(sampling: Sampling) -> bool:
    return sampling.temperature == 0.0 or sampling.top_k == 1


def _or_none(value: float, harmless: float) -> float | None:
    return None if value == harmless else value


def guided(guide: Guide | None) -> dict[str, Any] | None:
    """Return the arguments of GuidedDecodingParams."""
    if guide is None:
        return None
    return {"json_object": True} if guide.kind == "json" else {_GUIDES[guide.kind]: guide.text}
