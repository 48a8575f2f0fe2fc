"""How an answer is to be chosen: OpenAI's parameters, and those of the field, as inputs of the front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from builder.gateway.protocol.bodies import Body, clean, shown, within
from builder.gateway.protocol.errors import invalid

LARGEST = 2**31 - 1


class Number(NamedTuple):
    """A parameter that is a number: OpenAI's range, or that of vLLM's server where OpenAI has none."""

    name: str
    lowest: float
    highest: float
    whole: bool = False
    about: str = ""


NUMBERS = (
    Number("temperature", 0, 2, about="1 unless given; 0 takes the likeliest token"),
    Number("top_p", 0, 1, about="choose among the likeliest tokens that together reach it"),
    Number("presence_penalty", -2, 2),
    Number("frequency_penalty", -2, 2),
    Number("top_k", -1, LARGEST, whole=True, about="choose among so many; -1 and 0: all"),
    Number("min_p", 0, 1),
    Number("repetition_penalty", 0.01, 100),
    Number("min_tokens", 0, LARGEST, whole=True),
    Number("priority", 0, 100, whole=True),
)
STOPS = 64
SEQUENCES = 64
TOPS = 20
_LEAST_TOP_P = 1e-6
"""Holds the likeliest token alone, as 0 would, which the front refuses."""

NAMES = {
    "num_return_sequences": "n",
    "stop_words": "stop",
    "guided_decoding_guide_type": "response_format",
    "guided_decoding_guide": "response_format",
    "return_log_probs": "logprobs",
    "end_id": "ignore_eos",
}
"""Input of the front -> the parameter that it is made of, where their names differ."""

IGNORED = (
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier", "prompt_cache_retention"),
)
"""About the caller or OpenAI's own machines; nothing that is promised by them is withheld here."""


def read(body: Body) -> dict[str, Any]:
    """Return the inputs that say how to choose tokens, name -> element or list. Raises ApiError."""
    found: dict[str, Any] = {"temperature": 1.0}
    for name, lowest, highest, whole, _ in NUMBERS:
        value = body.whole(name, int(lowest), int(highest)) if whole else body.number(name, lowest, highest)
        if value is not None:
            found[name] = value
    if "top_p" in found:
        found["top_p"] = max(found["top_p"], _LEAST_TOP_P)
    found["top_k"] = max(0, found.get("top_k", 0))
    if (seed := body.whole("seed", -(2**63), 2**64 - 1)) is not None:
        found["seed"] = seed % 2**64
    if (stop := texts(body, "stop")) is not None:
        found["stop_words"] = stop
    if (bad := texts(body, "bad_words")) is not None:
        found["bad_words"] = bad
    if (bias := _logit_bias(body)) is not None:
        found["logit_bias"] = bias
    if body.flag("ignore_eos"):
        found["end_id"] = -1
    found |= guide("response_format", body.take("response_format", dict))
    return {name: value for name, value in found.items() if _asks(name, value)}


def _asks(name: str, value: Any) -> bool:
    """Say whether a value asks for anything: an engine may refuse an input that it cannot honour."""
    return bool(value != _HARMLESS.get(name))


_HARMLESS = {
    "top_k": 0,
    "min_p": 0.0,
    "min_tokens": 0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "priority": 0,
    "logit_bias": "{}",
    "stop_words": [],
    "bad_words": [],
}


def texts(body: Body, name: str) -> list[str] | None:
    """Return one text or several as a list, None when none was given."""
    value = body.take(name, str, list)
    if value is None:
        return None
    found = [value] if isinstance(value, str) else value
    if len(found) > STOPS:
        raise invalid(name, f"'{name}' has {len(found)} entries, at most {STOPS} are taken", "invalid_value")
    for one in found:
        if not isinstance(one, str):
            raise invalid(name, f"'{name}' holds something that is no string", "invalid_type")
        clean(name, one)
    return [one for one in found if one]


def _logit_bias(body: Body) -> str | None:
    bias = body.take("logit_bias", dict)
    if bias is None:
        return None
    for token, value in bias.items():
        if not (token.isascii() and token.isdecimal()):
            raise invalid("logit_bias", "'logit_bias' has a key that is no token id", "invalid_value")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid("logit_bias", f"'logit_bias' of {token[:20]} is no number", "invalid_type")
        within("logit_bias", value, -100, 100)
    return json.dumps(bias)


def guide(where: str, form: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the inputs that say what an answer must be, by a parameter like `response_format`."""
    if form is None or form.get("type") == "text":
        return {}
    if form.get("type") == "json_object":
        return {"guided_decoding_guide_type": "json"}
    if form.get("type") != "json_schema":
        found = shown(form.get("type"))
        message = f"'{where}.type' is {found}, it must be text, json_object or json_schema"
        raise invalid(where, message, "invalid_value")
    told = form.get("json_schema")
    schema = told.get("schema") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(schema, dict):
        message = f"'{where}' of type json_schema needs a 'json_schema' with an object 'schema'"
        raise invalid(where, message, "invalid_value")
    for name, kind in (("name", str), ("description", str), ("strict", bool)):
        # without `strict` a model may stray; no answer here does, with it or without
        if told.get(name) is not None and not isinstance(told[name], kind):
            message = f"'{where}' has a 'json_schema.{name}' of the wrong type"
            raise invalid(where, message, "invalid_type")
    text = clean(where, json.dumps(schema, ensure_ascii=False))
    return {"guided_decoding_guide_type": "json_schema", "guided_decoding_guide": text}


def sequences(body: Body) -> int:
    """Return how many answers are wanted (`n`)."""
    return body.whole("n", 1, SEQUENCES) or 1


def timeout(body: Body, headers: Any) -> float | None:
    """Return within how many seconds the answer is wanted: `timeout` of the body, else the header's."""
    value = body.number("timeout", 0.000001, 86_400)
    told = headers.get("timeout")
    if value is not None or told is None:
        return value
    try:
        return within("timeout", float(told), 0.000001, 86_400)
    except ValueError:
        raise invalid("timeout", "the header 'timeout' is no number of seconds", "invalid_type") from None


class Limits(NamedTuple):
    """How long an answer may be, and the name under which a client said so."""

    tokens: int | None
    name: str


def longest(body: Body, *names: str) -> Limits:
    """Return the most tokens of an answer, told by the first of these names that is there."""
    found = [(body.whole(name, 1, LARGEST), name) for name in names]
    return next((Limits(*one) for one in found if one[0] is not None), Limits(None, names[-1]))
