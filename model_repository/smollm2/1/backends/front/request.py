"""What a client asked for, checked: tensors in, one Request out, or an error that names the tensor."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.engine.protocol import DEFAULT_PRIORITY, MOST_PRIORITY, Guide, InvalidRequest, Sampling
from backends.text.chat import Chat, ChatError
from backends.text.encoding import Encoder

Tensors = Mapping[str, npt.NDArray[Any]]

GUIDES = ("json", "json_schema", "regex", "ebnf_grammar")
LARGEST_INTEGER = 2**31 - 1
PROMPTS = ("text_input", "messages", "input_ids")
MOST_BIAS = 1e4
"""Far beyond any logit, and far from where float32 ends."""
MOST_TOP_LOG_PROBS = 20
"""OpenAI's limit, and vLLM's own (max_logprobs)."""
_SLACK = 6
"""How much longer than a context of the longest tokens a text may be: normalising and JSON shorten it."""
# Triton's own; everything else in a request's parameters is a misspelt input.
TRITON_PARAMETERS = frozenset(
    {"headers", "timeout", "priority", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}
)


@dataclass(frozen=True)
class Request:
    """One checked request; `prompt_text` is what to echo, `sequences` how many answers to give."""

    ids: tuple[int, ...]
    prompt_text: str
    sampling: Sampling
    stream: bool = False
    stops: tuple[str, ...] = ()
    sequences: int = 1
    echo: bool = False
    prompt_log_probs: bool = False

    def sampling_of(self, sequence: int) -> Sampling:
        """Return the sampling of one of several sequences: each has its own seed."""
        seed = self.sampling.seed
        return self.sampling if seed is None else replace(self.sampling, seed=(seed + sequence) % 2**64)


@dataclass(frozen=True)
class Limits:
    """What the deployment allows; `unsupported` are inputs that `engine` cannot honour.

    `adapters` are the names that `lora_name` may have.
    """

    context: int
    vocabulary: int
    end_ids: frozenset[int]
    deadline_seconds: float
    engine: str
    unsupported: frozenset[str] = field(default_factory=frozenset)
    adapters: tuple[str, ...] = ()


# name -> (lowest, highest), both allowed
_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, LARGEST_INTEGER),
    "min_tokens": (0, LARGEST_INTEGER),
    "temperature": (0.0, 100.0),
    "top_k": (0, LARGEST_INTEGER),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "num_return_sequences": (1, 64),
    "top_logprobs": (0, MOST_TOP_LOG_PROBS),
    "priority": (0, MOST_PRIORITY),
}

# Values that ask for nothing, so that clients which always send them still work.
_HARMLESS: dict[str, Any] = {
    "beam_width": 1,
    "length_penalty": 1.0,
    "top_logprobs": 0,
    "priority": 0,
    "guided_decoding_guide_type": "",
    "guided_decoding_guide": "",
    "min_p": 0.0,
    "logit_bias": "",
}


def parse(
    tensors: Tensors,
    parameters: Mapping[str, Any],
    limits: Limits,
    encoder: Encoder,
    chat: Chat,
    timeout_microseconds: int = 0,
) -> Request:
    """Return the request of one client.

    Args:
        tensors: input name -> array with its batch dimension of 1; strings as object arrays of bytes.
        parameters: the request's own parameters, which `generate` fills with misspelt inputs.

    Raises InvalidRequest with a text for the client.
    """
    _refuse_parameters(parameters)
    values = _Values(_with_priority(tensors, parameters))
    _refuse_unsupported(values, limits)
    ids, text = _prompt(values, limits, encoder, chat)
    if not ids:
        raise InvalidRequest("the prompt is empty: it has 0 tokens, at least 1 is needed")
    room = limits.context - len(ids)
    if room < 1:
        raise InvalidRequest(
            f"prompt has {len(ids)} tokens, the context holds {limits.context} "
            "with at least one for the answer: shorten the prompt"
        )
    asked = values.number("max_tokens")
    if asked is not None and asked > room:
        raise InvalidRequest(
            f"prompt has {len(ids)} tokens and max_tokens is {int(asked)}, "
            f"the context holds {limits.context}: ask for at most {room}"
        )
    max_tokens = room if asked is None else int(asked)
    return Request(
        ids=ids,
        prompt_text=text,
        sampling=_sampling(values, limits, max_tokens, encoder, timeout_microseconds),
        stream=values.flag("stream", False),
        stops=_words(values, "stop_words"),
        sequences=int(values.number("num_return_sequences") or 1),
        echo=not values.flag("exclude_input_in_output", True),
        prompt_log_probs=values.flag("prompt_logprobs", False),
    )


class _Values:
    """Typed reading of the tensors of one request."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def one(self, name: str) -> Any:
        """Return the only element, None when the tensor was not sent."""
        if name not in self._tensors:
            return None
        elements = self._tensors[name].reshape(-1)
        if elements.size != 1:
            raise InvalidRequest(f"{name} has {elements.size} elements, 1 is expected")
        return elements[0]

    def number(self, name: str) -> float | None:
        """Return a number within its range, None when it was not sent."""
        value = self.one(name)
        if value is None:
            return None
        number = float(value)
        lowest, highest = _RANGES[name]
        if not lowest <= number <= highest:
            allowed = f"at least {lowest:g}" if highest == LARGEST_INTEGER else f"{lowest:g} to {highest:g}"
            raise InvalidRequest(f"{name} is {number:.10g}, it must be {allowed}")
        return number

    def flag(self, name: str, default: bool) -> bool:
        value = self.one(name)
        return default if value is None else bool(value)

    def text(self, name: str) -> str | None:
        value = self.one(name)
        return None if value is None else _utf8(name, value)

    def texts(self, name: str) -> list[str]:
        if name not in self._tensors:
            return []
        return [_utf8(name, value) for value in self._tensors[name].reshape(-1)]

    def ids(self, name: str) -> list[int]:
        return [int(value) for value in self._tensors[name].reshape(-1)]


def _utf8(name: str, value: Any) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not valid UTF-8: {error}") from error


def _refuse_parameters(parameters: Mapping[str, Any]) -> None:
    unknown = sorted(
        name for name in parameters if name not in TRITON_PARAMETERS and not name.startswith("triton_")
    )
    if unknown:
        raise InvalidRequest(
            f"unknown parameter {', '.join(unknown)}: the inputs of this model are in its metadata"
        )


def _with_priority(tensors: Tensors, parameters: Mapping[str, Any]) -> Tensors:
    """Return the tensors with the priority that `generate` leaves among the parameters, if it does."""
    given = parameters.get("priority")
    if given is None or "priority" in tensors:
        return tensors
    if not isinstance(given, int):
        raise InvalidRequest(f"priority is {given!r}, a whole number is expected")
    return {**tensors, "priority": np.array([given])}


def _refuse_unsupported(values: _Values, limits: Limits) -> None:
    for name in sorted(limits.unsupported):
        if name not in values:
            continue
        value = values.text(name) if isinstance(_HARMLESS.get(name), str) else values.one(name)
        if value != _HARMLESS.get(name):
            raise InvalidRequest(f"engine {limits.engine} does not support {name!r}: leave it out")


def _prompt(values: _Values, limits: Limits, encoder: Encoder, chat: Chat) -> tuple[tuple[int, ...], str]:
    given = [name for name in PROMPTS if name in values]
    if len(given) != 1:
        found = f"{' and '.join(given)} were sent" if given else "none was sent"
        raise InvalidRequest(f"exactly one of text_input, messages and input_ids is needed, {found}")
    if given == ["input_ids"]:
        ids = values.ids("input_ids")
        _require_vocabulary("input_ids", ids, limits)
        return tuple(ids), ""
    text = values.text(given[0]) or ""
    if len(text) > limits.context * encoder.longest * _SLACK:
        # it would be minutes until its tokens are counted, and nobody else is heard meanwhile
        raise InvalidRequest(
            f"{given[0]} has {len(text)} characters, the context holds {limits.context} tokens: shorten it"
        )
    if given == ["messages"]:
        try:
            return tuple(chat.encode(text)), ""
        except ChatError as error:
            raise InvalidRequest(str(error)) from error
    return tuple(encoder.encode(text, values.flag("add_special_tokens", True))), text


def _sampling(
    values: _Values, limits: Limits, max_tokens: int, encoder: Encoder, timeout_microseconds: int
) -> Sampling:
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
    bad_words = _words(values, "bad_words")
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
        bad_ids=tuple(tuple(ids) for word in bad_words for ids in _spellings(word, encoder)),
        bad_words=bad_words,
        log_probs=values.flag("return_log_probs", False),
        top_log_probs=int(values.number("top_logprobs") or 0),
        guide=_guide(values),
        # Triton's rule: 0 is the default, 1 goes before all others
        priority=int(values.number("priority") or DEFAULT_PRIORITY),
        adapter=_adapter(values, limits),
        deadline=time.monotonic() + seconds,
    )


def _adapter(values: _Values, limits: Limits) -> str:
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


def _guide(values: _Values) -> Guide | None:
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
        schema = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"guided_decoding_guide is no JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise InvalidRequest(f"guided_decoding_guide is {text[:80]!r}, a JSON schema is an object")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _end_ids(values: _Values, limits: Limits) -> frozenset[int]:
    own = values.one("end_id")
    if own is None:
        return limits.end_ids
    if int(own) < 0:
        return frozenset()  # the field's habit: -1 switches the end off
    _require_vocabulary("end_id", [int(own)], limits)
    return frozenset({int(own)})


def _words(values: _Values, name: str) -> tuple[str, ...]:
    words = values.texts(name)
    if len(words) > 64:
        raise InvalidRequest(f"{name} has {len(words)} entries, at most 64 are allowed")
    return tuple(word for word in words if word)


def _spellings(word: str, encoder: Encoder) -> list[list[int]]:
    """Return the word's ids at the start of a text and after a space: two spellings to most tokenizers."""
    found = [encoder.encode(text, add_special_tokens=False) for text in (word, f" {word}")]
    return [ids for ids in found if ids]


def _logit_bias(values: _Values, limits: Limits) -> dict[int, float]:
    text = values.text("logit_bias")
    if not text:
        return {}
    form = 'a JSON object such as {"42": -100}'
    try:
        bias = {int(token): float(value) for token, value in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"logit_bias is {text[:80]!r}, {form} is expected") from error
    _require_vocabulary("logit_bias", list(bias), limits)
    for token, value in bias.items():
        if not -MOST_BIAS <= value <= MOST_BIAS:
            raise InvalidRequest(
                f"logit_bias of {token} is {value:g}, it must be {-MOST_BIAS:g} to {MOST_BIAS:g}"
            )
    return bias


def _require_vocabulary(name: str, ids: list[int], limits: Limits) -> None:
    for token in ids:
        if not 0 <= token < limits.vocabulary:
            raise InvalidRequest(f"{name} holds {token}, ids are 0 to {limits.vocabulary - 1}")
