"""What the published OpenAPI says of bodies and answers."""

from __future__ import annotations

from typing import Any

from builder.gateway.protocol import errors, offers, sampling

_TEXT: dict[str, Any] = {"type": "string"}
_FLAG = {"type": "boolean"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": sampling.STOPS}]}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "minItems": 1}
_INPUTS = {
    "anyOf": [
        _TEXT,
        _IDS,
        {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 2048},
        {"type": "array", "items": _IDS, "minItems": 1, "maxItems": 2048},
    ]
}


def _whole(lowest: int, highest: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _numbers() -> dict[str, Any]:
    return {
        number.name: {
            "type": "integer" if number.whole else "number",
            "minimum": number.lowest,
            "maximum": number.highest,
            **({"description": number.about} if number.about else {}),
        }
        for number in sampling.NUMBERS
    }


def _generation() -> dict[str, Any]:
    return {
        "model": _TEXT,
        **_numbers(),
        "max_tokens": _whole(1, sampling.LARGEST),
        "n": _whole(1, sampling.SEQUENCES),
        "stop": _TEXTS,
        "bad_words": _TEXTS,
        "seed": _whole(-(2**63), 2**64 - 1),
        "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}},
        "ignore_eos": _FLAG,
        "response_format": {"type": "object"},
        "stream": _FLAG,
        "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
        "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "seconds"},
        "user": _TEXT,
        "metadata": {"type": "object"},
    }


def chat() -> dict[str, Any]:
    """Return the schema of a chat's body."""
    message = {"type": "object", "required": ["role"], "properties": {"role": _TEXT}}
    function = {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}
    kind = {"type": "string", "enum": ["function"]}
    tool = {
        "type": "object",
        "required": ["type", "function"],
        "properties": {"type": kind, "function": function},
    }
    own = {
        "messages": {"type": "array", "items": message, "minItems": 1},
        "max_completion_tokens": _whole(1, sampling.LARGEST),
        "logprobs": _FLAG,
        "top_logprobs": _whole(0, sampling.TOPS),
        "tools": {"type": "array", "items": tool, "maxItems": offers.MOST},
        "tool_choice": {"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}]},
        "parallel_tool_calls": _FLAG,
    }
    return _object({**own, **_generation()}, "model", "messages")


def completions() -> dict[str, Any]:
    """Return the schema of a completion's body."""
    own = {"prompt": _INPUTS, "echo": _FLAG, "logprobs": _whole(0, sampling.TOPS)}
    return _object({**own, **_generation(), "add_special_tokens": _FLAG}, "model", "prompt")


def embeddings() -> dict[str, Any]:
    """Return the schema of the body of embeddings."""
    forms = {"type": "string", "enum": ["float", "base64"]}
    own = {"model": _TEXT, "input": _INPUTS, "encoding_format": forms, "dimensions": _whole(1, 2**31 - 1)}
    return _object(own, "model", "input")


def responses() -> dict[str, Any]:
    """Return the schema of the body of responses."""
    item = {"type": "object", "required": ["role", "content"], "properties": {"role": _TEXT}}
    own = {
        "input": {"anyOf": [_TEXT, {"type": "array", "items": item, "minItems": 1}]},
        "instructions": _TEXT,
        "max_output_tokens": _whole(1, sampling.LARGEST),
        "text": {"type": "object", "properties": {"format": {"type": "object"}}},
        "store": {"type": "boolean", "enum": [False]},
    }
    without = ("max_tokens", "n", "response_format")
    shared = {name: told for name, told in _generation().items() if name not in without}
    return _object({**shared, **own}, "model", "input")


def rerank() -> dict[str, Any]:
    """Return the schema of the body of /rerank."""
    document = {"type": "object", "required": ["text"], "properties": {"text": _TEXT}}
    documents = {"type": "array", "items": {"anyOf": [_TEXT, document]}, "minItems": 1, "maxItems": 2048}
    own = {"model": _TEXT, "query": _TEXT, "documents": documents, "top_n": _whole(1, 2**31 - 1)}
    return _object({**own, "return_documents": _FLAG}, "model", "query", "documents")


def ollama(asked: str) -> dict[str, Any]:
    """Return the schema of the body of Ollama's endpoint that is asked by this parameter."""
    kinds = {"prompt": _TEXT, "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1}}
    own = {"model": _TEXT, asked: kinds[asked], "stream": _FLAG, "options": {"type": "object"}}
    return _object({**own, "format": {"type": ["string", "object"]}}, "model", asked)


def tgi() -> dict[str, Any]:
    """Return the schema of the body of TGI's endpoints."""
    return _object({"model": _TEXT, "inputs": _TEXT, "parameters": {"type": "object"}}, "inputs")


def tokenize() -> dict[str, Any]:
    """Return the schema of the body of /tokenize."""
    return _object({"model": _TEXT, "prompt": _TEXT}, "model", "prompt")


def detokenize() -> dict[str, Any]:
    """Return the schema of the body of /detokenize."""
    return _object({"model": _TEXT, "tokens": _IDS}, "model", "tokens")


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def operation(body: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a route adds to the OpenAPI: its body, and what errors look like."""
    error = {"description": "refused", "content": {"application/json": {"schema": errors.shape()}}}
    told: dict[str, Any] = {"responses": {"4XX": error, "5XX": error}}
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return told
