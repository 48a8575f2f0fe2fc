"""What the published OpenAPI says of answers."""

from __future__ import annotations

from typing import NamedTuple

from builder.gateway.protocol.shapes import (
    ANYTHING,
    COUNT,
    FLAG,
    NOTHING,
    NUMBER,
    TEXT,
    Schema,
    any_of,
    maybe,
    one_of,
    record,
    several,
)

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


class Answer(NamedTuple):
    """What an endpoint answers with.

    Args:
        schema: of its JSON; None for text.
        stream: the media type of what is streamed instead, if anything is.
        error: what its errors may be instead of OpenAI's, where it is for clients of another server.
        unwell: the schema of a 503 that is no error.
    """

    schema: Schema | None
    stream: str = ""
    error: Schema | None = None
    unwell: Schema | None = None


_READ = record({"prompt_tokens": COUNT, "total_tokens": COUNT})
_USAGE = record({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
_REASON = one_of("stop", "length", "tool_calls")


def _envelope(title: str, kind: str, choice: Schema) -> Schema:
    head = {"id": TEXT, "object": one_of(kind), "created": COUNT, "model": TEXT}
    return record({**head, "choices": several(choice, 1), "usage": _USAGE}, title=title)


def _chat() -> Schema:
    token = {"token": TEXT, "logprob": NUMBER, "bytes": maybe(several(COUNT))}
    told = record({**token, "top_logprobs": several(record(token))})
    call = record(
        {"id": TEXT, "type": one_of("function"), "function": record({"name": TEXT, "arguments": TEXT})}
    )
    message = record(
        {"role": one_of("assistant"), "content": maybe(TEXT), "refusal": NOTHING},
        {"reasoning_content": TEXT, "tool_calls": several(call, 1)},
    )
    log_probs = record({"content": several(told), "refusal": NOTHING})
    choice = {"index": COUNT, "message": message, "logprobs": maybe(log_probs), "finish_reason": _REASON}
    return _envelope("Chat", "chat.completion", record(choice))


def _completion() -> Schema:
    tops = maybe(several({"type": "object", "additionalProperties": NUMBER}))
    told = {
        "tokens": several(TEXT),
        "token_logprobs": several(NUMBER),
        "top_logprobs": tops,
        "text_offset": several(COUNT),
    }
    choice = {"index": COUNT, "text": TEXT, "logprobs": maybe(record(told)), "finish_reason": _REASON}
    return _envelope("Completion", "text_completion", record(choice))


def _response() -> Schema:
    part = record({"type": one_of("output_text"), "text": TEXT, "annotations": several(ANYTHING)})
    status = one_of("completed", "incomplete")
    item = {"id": TEXT, "type": one_of("message"), "status": status, "role": one_of("assistant")}
    usage = {"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}
    return record(
        {
            "id": TEXT,
            "object": one_of("response"),
            "created_at": COUNT,
            "model": TEXT,
            "status": status,
            "incomplete_details": maybe(record({"reason": TEXT})),
            "error": NOTHING,
            "output": several(record({**item, "content": several(part)})),
            "usage": record(usage),
        },
        title="Response",
    )


def _model() -> Schema:
    told = {"id": TEXT, "object": one_of("model"), "created": COUNT, "owned_by": TEXT, "task": TEXT}
    can = record({"completion_chat": FLAG, "function_calling": FLAG, "vision": FLAG})
    return record({**told, "capabilities": can}, {"max_model_len": COUNT}, title="Model")


def _embeddings() -> Schema:
    vector = any_of(several(NUMBER), TEXT)
    one = record({"object": one_of("embedding"), "index": COUNT, "embedding": vector})
    told = {"object": one_of("list"), "data": several(one), "model": TEXT, "usage": _READ}
    return record(told, title="Embeddings")


def _rerank() -> Schema:
    document = {"document": record({"text": TEXT})}
    result = record({"index": COUNT, "relevance_score": NUMBER}, document)
    return record({"id": TEXT, "model": TEXT, "results": several(result)}, title="Ranking")


def _ollama(title: str, fields: dict[str, Schema]) -> Schema:
    numbers = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration")
    counts = dict.fromkeys((*numbers, "eval_count", "eval_duration"), COUNT)
    head = {"model": TEXT, "created_at": TEXT, "done": FLAG, "done_reason": TEXT}
    return record({**head, **fields, **counts}, title=title)


def _ollama_chat() -> Schema:
    call = record({"function": record({"name": TEXT, "arguments": ANYTHING})})
    more = {"thinking": TEXT, "tool_calls": several(call)}
    message = record({"role": one_of("assistant"), "content": TEXT}, more)
    return _ollama("OllamaChat", {"message": message})


def _generated() -> Schema:
    token = record({"id": COUNT, "text": TEXT, "logprob": NUMBER, "special": FLAG})
    details = record(
        {
            "finish_reason": TEXT,
            "generated_tokens": COUNT,
            "seed": {"type": ["integer", "null"]},
            "prefill": several(ANYTHING),
            "tokens": several(token),
        }
    )
    return record({"generated_text": TEXT}, {"details": details}, title="Generated")


_TAG = record({"name": TEXT, "model": TEXT, "modified_at": TEXT, "details": ANYTHING})
_STATUS = record({"status": TEXT}, title="Health")
_OLLAMAS_ERROR = record({"error": TEXT}, title="OllamaError")
_TGIS_ERROR = record({"error": TEXT, "error_type": TEXT}, title="GenerateError")

CHAT = Answer(_chat(), EVENTS)
COMPLETION = Answer(_completion(), EVENTS)
EMBEDDINGS = Answer(_embeddings())
RESPONSE = Answer(_response(), EVENTS)
RANKING = Answer(_rerank())
OLLAMA_CHAT = Answer(_ollama_chat(), LINES, _OLLAMAS_ERROR)
OLLAMA_GENERATED = Answer(_ollama("OllamaGenerated", {"response": TEXT}), LINES, _OLLAMAS_ERROR)
TAGS = Answer(record({"models": several(_TAG)}, title="Tags"))
VERSION = Answer(record({"version": TEXT}, title="Version"))
GENERATED = Answer(_generated(), error=_TGIS_ERROR)
GENERATED_STREAM = Answer(None, EVENTS, _TGIS_ERROR)
MODELS = Answer(record({"object": one_of("list"), "data": several(_model())}, title="Models"))
MODEL = Answer(_model())
TOKENS = Answer(
    record({"count": COUNT, "max_model_len": maybe(COUNT), "tokens": several(COUNT)}, title="Tokens")
)
TEXT_OF_TOKENS = Answer(record({"prompt": TEXT}, title="Detokenized"))
HEALTH = Answer(_STATUS, unwell=_STATUS)
METRICS = Answer(None, "text/plain")
