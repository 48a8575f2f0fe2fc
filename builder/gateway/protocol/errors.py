"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from builder.gateway.protocol.shapes import TEXT, Schema, maybe, record
from builder.gateway.triton.failures import Failure, Kind

INVALID, SERVER = "invalid_request_error", "server_error"


class ApiError(Exception):
    """What a client is told instead of an answer.

    Args:
        status: of HTTP.
        param: the parameter that is to blame, as the client wrote it.
        retry_after: seconds after which another try may do.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after
        super().__init__(message)

    def body(self) -> bytes:
        """Return it as JSON."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


def invalid(param: str, message: str, code: str | None = None) -> ApiError:
    """Return the error of a parameter."""
    return ApiError(400, message, param=param, code=code)


def overloaded(message: str) -> ApiError:
    """Return the error of a request for which there is no place."""
    return ApiError(429, message, kind="rate_limit_error", code="overloaded", retry_after=1)


def of_failure(failure: Failure, names: Mapping[str, str]) -> ApiError:
    """Return what a client is told of a failure.

    Args:
        names: input of the model -> the parameter it was made of; those not in it are called alike.
    """
    text = failure.text
    match failure.kind:
        case Kind.OVERLOADED:
            return overloaded(text)
        case Kind.DEADLINE:
            return ApiError(408, text, kind="timeout_error", param="timeout", code="timeout")
        case Kind.UNKNOWN_MODEL:
            return ApiError(404, text, param="model", code="model_not_found")
        case Kind.UNAVAILABLE:
            return ApiError(503, text, kind=SERVER, code="unavailable", retry_after=1)
        case Kind.INTERNAL:
            return ApiError(500, text, kind=SERVER)
    return _of_refusal(text, names)


def _of_refusal(text: str, names: Mapping[str, str]) -> ApiError:
    """Return the error of a parameter, called as the client calls it."""
    told = _INPUT.sub(lambda match: names.get(match[0], match[0]), text)
    first = _INPUT.search(text)
    param = names.get(first[0], first[0]) if first else None
    if "the context holds" in text:
        return ApiError(400, told, param=names.get("prompt", "prompt"), code="context_length_exceeded")
    return ApiError(400, told, param=param)


_INPUTS = (
    *("text_input", "messages", "input_ids", "max_tokens", "temperature", "top_k", "top_p", "min_p"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "min_tokens", "seed", "logit_bias"),
    *("end_id", "num_return_sequences", "stop_words", "bad_words", "return_log_probs", "top_logprobs"),
    *("guided_decoding_guide_type", "guided_decoding_guide", "priority", "lora_name", "documents", "query"),
    "output_ids",
)
_INPUT = re.compile(rf"\b({'|'.join(_INPUTS)})\b")
"""An input of the front, as its texts name them."""


def unsupported(name: str, why: str = "") -> ApiError:
    """Return the error of a parameter that nothing here honours."""
    reason = f": {why}" if why else ""
    return invalid(name, f"Unsupported parameter: '{name}'{reason}", "unsupported_parameter")


def event(error: ApiError) -> bytes:
    """Return it as the last event of a stream."""
    return b"data: " + error.body() + b"\n\n"


def shape() -> Schema:
    """Return its JSON schema."""
    error = record({"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT)})
    return record({"error": error}, title="Error")
