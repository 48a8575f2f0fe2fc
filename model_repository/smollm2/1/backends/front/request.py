"""What a client asked for, checked: tensors in, one Request out, or an error that names the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backends.engine.protocol import InvalidRequest, Sampling
from backends.front.limits import Limits, require_vocabulary
from backends.front.sampling import sampling
from backends.front.values import Tensors, Values
from backends.text.chat import Chat, ChatError
from backends.text.encoding import Encoder

PROMPTS = ("text_input", "messages", "input_ids")
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
    values = Values(_with_priority(tensors, parameters))
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
        sampling=sampling(values, limits, max_tokens, encoder, timeout_microseconds),
        stream=values.flag("stream", False),
        stops=values.words("stop_words"),
        sequences=int(values.number("num_return_sequences") or 1),
        echo=not values.flag("exclude_input_in_output", True),
        prompt_log_probs=values.flag("prompt_logprobs", False),
    )


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


def _refuse_unsupported(values: Values, limits: Limits) -> None:
    for name in sorted(limits.unsupported):
        if name not in values:
            continue
        value = values.text(name) if isinstance(_HARMLESS.get(name), str) else values.one(name)
        if value != _HARMLESS.get(name):
            reason = f", because {limits.lacking[name]}" if name in limits.lacking else ""
            raise InvalidRequest(f"engine {limits.engine} does not support {name!r}{reason}: leave it out")


def _prompt(values: Values, limits: Limits, encoder: Encoder, chat: Chat) -> tuple[tuple[int, ...], str]:
    given = [name for name in PROMPTS if name in values]
    if len(given) != 1:
        found = f"{' and '.join(given)} were sent" if given else "none was sent"
        raise InvalidRequest(f"exactly one of text_input, messages and input_ids is needed, {found}")
    if given == ["input_ids"]:
        ids = values.ids("input_ids")
        require_vocabulary("input_ids", ids, limits)
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
