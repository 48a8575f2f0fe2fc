"""What the published OpenAPI says of bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.gateway.protocol import messages, offers, prompts, sampling
from builder.gateway.protocol.shapes import (
    ANYTHING,
    FLAG,
    TEXT,
    Schema,
    any_of,
    body,
    closed,
    maybe,
    one_of,
    record,
    several,
    whole,
)

_TEXTS = any_of(TEXT, several(TEXT, highest=sampling.STOPS))
_IDS = several(whole(0, prompts.LARGEST_ID), 1)
_INPUTS = any_of(TEXT, _IDS, several(TEXT, 1, prompts.MOST), several(_IDS, 1, prompts.MOST))
_TOKENS = whole(1, sampling.LARGEST)
_STREAM = {"stream": FLAG, "stream_options": record({}, {"include_usage": maybe(FLAG)})}
_CALLER: dict[str, Schema] = {name: {"description": "of no effect"} for name in sampling.IGNORED}


def _numbers() -> dict[str, Schema]:
    return {
        number.name: {
            "type": "integer" if number.whole else "number",
            "minimum": number.lowest,
            "maximum": number.highest,
            **({"description": number.about} if number.about else {}),
        }
        for number in sampling.NUMBERS
    }


def _sampling() -> dict[str, Schema]:
    return {
        **_numbers(),
        "stop": _TEXTS,
        "bad_words": _TEXTS,
        "seed": whole(-(2**63), 2**64 - 1),
        "logit_bias": {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]+$"},
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        },
        "ignore_eos": FLAG,
        "response_format": _FORM,
    }


_FORM = any_of(
    record({"type": one_of("text", "json_object")}),
    record(
        {
            "type": one_of("json_schema"),
            "json_schema": record(
                {"schema": ANYTHING}, {"name": maybe(TEXT), "description": maybe(TEXT), "strict": maybe(FLAG)}
            ),
        }
    ),
)
_TIMEOUT: Schema = {"type": "number", "minimum": 0.000001, "maximum": 86_400, "description": "seconds"}


def _generation() -> dict[str, Schema]:
    return {
        **_sampling(),
        **_STREAM,
        **_CALLER,
        "max_tokens": _TOKENS,
        "n": whole(1, sampling.SEQUENCES),
        "timeout": _TIMEOUT,
    }


def _parts(*kinds: str) -> Schema:
    return several(any_of(*(record({"type": one_of(kind), messages.TEXTS[kind]: TEXT}) for kind in kinds)))


def _messages(*kinds: str) -> Schema:
    content = any_of(TEXT, _parts(*kinds))
    message = any_of(
        record({"role": one_of("system", "developer", "user"), "content": content}),
        record(
            {"role": one_of("assistant")},
            {"content": maybe(content), "tool_calls": maybe(several(ANYTHING))},
        ),
        record({"role": one_of("tool"), "content": content, "tool_call_id": TEXT}),
    )
    return several(message, 1)


def chat() -> Schema:
    """Return the schema of a chat's body."""
    name = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
    about = {"description": maybe(TEXT), "parameters": maybe(ANYTHING), "strict": maybe(FLAG)}
    tool = record({"type": one_of("function"), "function": record({"name": name}, about)})
    chosen = record({"type": one_of("function"), "function": record({"name": TEXT})})
    own = {
        "max_completion_tokens": _TOKENS,
        "logprobs": FLAG,
        "top_logprobs": whole(0, sampling.TOPS),
        "tools": several(tool, highest=offers.MOST),
        "tool_choice": any_of(one_of("none", "auto", "required"), chosen),
        "parallel_tool_calls": FLAG,
        "store": {"type": "boolean", "const": False},
        "modalities": {"type": "array", "const": ["text"]},
    }
    asked = {"model": TEXT, "messages": _messages(*messages.TEXTS)}
    return body("ChatRequest", asked, {**_generation(), **own})


def completions() -> Schema:
    """Return the schema of a completion's body."""
    own = {
        "echo": FLAG,
        "logprobs": whole(0, sampling.TOPS),
        "best_of": whole(1, sampling.SEQUENCES),
        "add_special_tokens": FLAG,
    }
    return body("CompletionRequest", {"model": TEXT, "prompt": _INPUTS}, {**_generation(), **own})


def embeddings() -> Schema:
    """Return the schema of the body of embeddings."""
    own = {"encoding_format": one_of("float", "base64"), "dimensions": _TOKENS, "timeout": _TIMEOUT}
    return body("EmbeddingRequest", {"model": TEXT, "input": _INPUTS}, {**own, **_CALLER})


def responses() -> Schema:
    """Return the schema of the body of responses."""
    content = any_of(TEXT, _parts(*messages.TEXTS))
    roles = one_of("system", "developer", "user", "assistant")
    item = record({"role": roles}, {"content": maybe(content), "type": maybe(one_of("message"))})
    form = any_of(
        record({"type": one_of("text", "json_object")}),
        record({"type": one_of("json_schema"), "schema": ANYTHING}),
    )
    fixed = {
        "store": {"type": "boolean", "const": False},
        "background": {"type": "boolean", "const": False},
        "truncation": one_of("disabled"),
        "tool_choice": one_of("auto", "none"),
        "top_logprobs": {"type": "integer", "const": 0},
    }
    own = {
        "instructions": TEXT,
        "max_output_tokens": _TOKENS,
        "text": record({}, {"format": maybe(form), "verbosity": maybe(one_of("medium"))}),
        "stream": FLAG,
        "stream_options": ANYTHING,
        "parallel_tool_calls": {},
        "timeout": _TIMEOUT,
    }
    without = ("response_format",)
    shared = {name: told for name, told in _sampling().items() if name not in without}
    asked = {"model": TEXT, "input": any_of(TEXT, several(item, 1))}
    return body("ResponseRequest", asked, {**shared, **_CALLER, **fixed, **own})


def rerank() -> Schema:
    """Return the schema of the body of /rerank."""
    documents = several(any_of(TEXT, record({"text": TEXT})), 1, prompts.MOST)
    own = {"top_n": _TOKENS, "return_documents": FLAG, "timeout": _TIMEOUT}
    asked = {"model": TEXT, "query": TEXT, "documents": documents}
    return body("RerankRequest", asked, {**own, **_CALLER})


def ollama(asked: str) -> Schema:
    """Return the schema of the body of Ollama's endpoint that is asked by this parameter."""
    think = {"type": ["string", "boolean"]}
    own = {
        "stream": FLAG,
        "options": ANYTHING,
        "format": {"type": ["string", "object"]},
        "think": think,
        "keep_alive": {},
    }
    if asked == "messages":
        chat = {"tools": several(ANYTHING, highest=offers.MOST)}
        return body("OllamaChatRequest", {"model": TEXT, "messages": several(ANYTHING)}, {**own, **chat})
    return body(
        "OllamaGenerateRequest", {"model": TEXT}, {**own, "prompt": TEXT, "system": TEXT, "raw": FLAG}
    )


def tgi(without_effect: Mapping[str, Any]) -> Schema:
    """Return the schema of the body of TGI's endpoints; some parameters are there in name alone."""
    parameters = {
        **{name: told for name, told in _sampling().items() if name != "response_format"},
        "max_new_tokens": _TOKENS,
        "do_sample": FLAG,
        "details": FLAG,
        "grammar": record({"type": one_of("json", "regex"), "value": {"type": ["object", "string"]}}),
        **{name: one_of(nothing) for name, nothing in without_effect.items()},
    }
    return body("GenerateRequest", {"inputs": TEXT}, {"model": TEXT, "parameters": closed({}, parameters)})


def tokenize() -> Schema:
    """Return the schema of the body of /tokenize."""
    return body("TokenizeRequest", {"model": TEXT, "prompt": TEXT}, {})


def detokenize() -> Schema:
    """Return the schema of the body of /detokenize."""
    return body("DetokenizeRequest", {"model": TEXT, "tokens": _IDS}, {})
