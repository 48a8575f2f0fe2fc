"""How a client wants tokens to be chosen, checked."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from backends.engine.protocol import DEFAULT_PRIORITY, Guide, InvalidRequest, Sampling
from backends.front.limits import Limits, require_vocabulary
from backends.front.values import Values
from backends.text.encoding import Encoder

GUIDES = ("json", "json_schema", "regex", "ebnf_grammar")
MOST_BIAS = 1e4
"""Far beyond any logit, and far from where float32 ends."""


def sampling(
    values: Values, limits: Limits, max_tokens: int, encoder: Encoder, timeout_microseconds: int
) -> Sampling:
    """Return what the engine is told; raise InvalidRequest with a text that names the tensor."""
    temperature = values.number("temperature")
    samples = any(name in values for name in ("top_k", "top_p", "min_p"))
    if temperature is None:
        temperature = 1.0 if samples else 0.0
    top_p = values.number("top_p")
    if top_p == 0.0:
        raise InvalidRequest("top_p is 0, it must be above 0 and at most 1")
    min_tokens = int(values.number("min_tokens") or 0)
    if min_tokens > max_tokens:
        raise InvalidRequest(f"min_tokens is {min_tokens}, it must be at most max_tokens, {max_tokens}")
    if not isinstance(timeout_microseconds, int) or timeout_microseconds < 0:
        raise InvalidRequest(f"timeout is {timeout_microseconds!r}, microseconds above 0 are expected")
    seconds = timeout_microseconds / 1e6 or limits.deadline_seconds
    seed = values.one("seed")
    return Sampling(
        max_tokens=max_tokens,
        end_ids=_end_ids(values, limits),
        temperature=temperature,
        top_k=int(values.number("top_k") or 0),
        top_p=1.0 if top_p is None else top_p,
        min_p=values.number("min_p") or 0.0,
        repetition_penalty=_or(values.number("repetition_penalty"), 1.0),
        presence_penalty=values.number("presence_penalty") or 0.0,
        frequency_penalty=values.number("frequency_penalty") or 0.0,
        min_tokens=min_tokens,
        seed=None if seed is None else int(seed),
        logit_bias=_logit_bias(values, limits),
        bad_ids=tuple(tuple(ids) for word in values.words("bad_words") for ids in _spellings(word, encoder)),
        log_probs=values.flag("return_log_probs", False),
        top_log_probs=int(values.number("top_logprobs") or 0),
        guide=_guide(values),
        # Triton's rule: 0 is the default, 1 goes before all others
        priority=int(values.number("priority") or DEFAULT_PRIORITY),
        adapter=_adapter(values, limits),
        deadline=time.monotonic() + seconds,
    )


def _adapter(values: Values, limits: Limits) -> str:
    name = values.text("lora_name") or ""
    if not name:
        return ""
    if name not in limits.adapters:
        known = (
            f"it is one of {', '.join(limits.adapters)}" if limits.adapters else "this deployment has none"
        )
        raise InvalidRequest(f"lora_name is {name!r}: {known}")
    if values.flag("prompt_logprobs", False):
        raise InvalidRequest("prompt_logprobs tells of the model alone: leave out one of it and lora_name")
    return name


def _guide(values: Values) -> Guide | None:
    kind, text = values.text("guided_decoding_guide_type") or "", values.text("guided_decoding_guide") or ""
    if not kind and not text:
        return None
    if kind not in GUIDES:
        raise InvalidRequest(f"guided_decoding_guide_type is {kind!r}, it must be {', '.join(GUIDES)}")
    if bool(text) == (kind == "json"):
        wanted = "no guide: ask for json_schema to give one" if text else "a guided_decoding_guide"
        raise InvalidRequest(f"guided_decoding_guide_type {kind} takes {wanted}")
    if kind == "json_schema":
        _require_schema(text)
    return Guide(kind, text)


def _require_schema(text: str) -> None:
    try:
        schema = _json("guided_decoding_guide", text)
    except ValueError as error:
        raise InvalidRequest(f"guided_decoding_guide is no JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise InvalidRequest(f"guided_decoding_guide is {text[:80]!r}, a JSON schema is an object")


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidRequest(f"{name} is nested too deeply") from None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _end_ids(values: Values, limits: Limits) -> frozenset[int]:
    own = values.one("end_id")
    if own is None:
        return limits.end_ids
    if int(own) < 0:
        return frozenset()  # the field's habit: -1 switches the end off
    require_vocabulary("end_id", [int(own)], limits)
    return frozenset({int(own)})


def _spellings(word: str, encoder: Encoder) -> list[list[int]]:
    """Return the word's ids at the start of a text and after a space: two spellings to most tokenizers."""
    found = [encoder.encode(text, add_special_tokens=False) for text in (word, f" {word}")]
    return [ids for ids in found if ids]


def _logit_bias(values: Values, limits: Limits) -> dict[int, float]:
    text = values.text("logit_bias")
    if not text:
        return {}
    form = 'a JSON object such as {"42": -100}'
    try:
        bias = {int(token): _bias(value) for token, value in _json("logit_bias", text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"logit_bias is {text[:80]!r}, {form} is expected") from error
    require_vocabulary("logit_bias", list(bias), limits)
    for token, value in bias.items():
        if not -MOST_BIAS <= value <= MOST_BIAS:
            raise InvalidRequest(
                f"logit_bias of {token} is {value:g}, it must be {-MOST_BIAS:g} to {MOST_BIAS:g}"
            )
    return bias


def _bias(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
