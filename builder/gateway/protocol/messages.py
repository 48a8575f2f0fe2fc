"""The messages of a chat, checked, as the front takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from builder.gateway.protocol.bodies import Body, clean, shown
from builder.gateway.protocol.errors import ApiError, invalid
from builder.gateway.triton.served import Served

ROLES = ("system", "developer", "user", "assistant", "tool")
TEXTS = {"text": "text", "refusal": "refusal", "input_text": "text", "output_text": "text"}
"""Type of a part -> where its text stands; the last two are those of /v1/responses."""
_TAKEN_AS = {"developer": "system"}
"""OpenAI's newer name; templates know the older one."""


Messages = list[dict[str, Any]]


def take(
    body: Body, tools: Sequence[Any] | None = None, told: Callable[[Messages], Messages] | None = None
) -> str:
    """Return the front's `messages` as JSON, {"messages", "tools"} where there are tools. Raises ApiError.

    `told` rewrites past calls for the model's template, and raises ValueError that begins with a field.
    """
    read = checked("messages", body.need("messages", list))
    if told is not None:
        read = _rewritten(read, told)
    return clean("messages", written({"messages": read, "tools": tools} if tools else read))


def require_template(model: Served, instead: str) -> None:
    """Raise ApiError for a model that only goes on with texts, which the endpoint `instead` is for."""
    if not model.chats:
        raise invalid("model", f"the model '{model.name}' has no chat template: use {instead}")


def written(told: Any) -> str:
    """Return it as the front reads it."""
    return json.dumps(told, ensure_ascii=False)


def checked(name: str, messages: Sequence[Any]) -> Messages:
    """Return the messages that a parameter holds, each content as one text. Raises ApiError."""
    if not messages:
        raise invalid(name, f"'{name}' is empty, at least one message is expected", "invalid_value")
    return [_message(f"{name}[{place}]", message) for place, message in enumerate(messages)]


def _rewritten(messages: Messages, told: Callable[[Messages], Messages]) -> Messages:
    try:
        changed = told(messages)
    except ValueError as error:
        text = str(error)
        raise invalid(text.partition(" ")[0], text, "invalid_value") from None
    return [{**message, "content": message.get("content") or ""} for message in changed]


def _message(place: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise invalid(place, f"'{place}' is no object", "invalid_type")
    role = message.get("role")
    if role not in ROLES:
        message = f"'{place}.role' is {shown(role)}, it must be one of {', '.join(ROLES)}"
        raise invalid(f"{place}.role", message, "invalid_value")
    # the last is Ollama's, whose clients send an empty list too
    for name in ("audio", "function_call", "images"):
        if message.get(name) not in (None, []):
            raise _unsupported(f"{place}.{name}")
    if not isinstance(message.get("tool_calls"), list | None):
        raise invalid(f"{place}.tool_calls", f"'{place}.tool_calls' must be an array", "invalid_type")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        where = f"{place}.tool_call_id"
        raise invalid(where, f"'{where}' must be the id of a call", "missing_required_parameter")
    kept = {name: value for name, value in message.items() if value is not None}
    content = _content(f"{place}.content", message.get("content"))
    if content is None and role != "assistant":
        raise invalid(f"{place}.content", f"'{place}.content' is missing", "missing_required_parameter")
    # a template may ask for it without looking whether it is there
    return {**kept, "role": _TAKEN_AS.get(role, role), "content": content or ""}


def _content(place: str, content: Any) -> str | None:
    """Return a content as text; parts are put one beneath the other, as templates expect one text."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(place, f"'{place}' must be a string or an array of parts", "invalid_type")
    return "\n".join(_part(f"{place}[{index}]", part) for index, part in enumerate(content))


def _part(place: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in TEXTS:
        text = part.get(TEXTS[kind])
        if isinstance(text, str):
            return text
        raise invalid(place, f"'{place}' has no text", "invalid_type")
    if isinstance(kind, str) and len(kind) < 40:
        message = f"'{place}' is of type {kind!r}, which this model does not take: it takes text"
        raise invalid(place, message, "unsupported_content")
    raise invalid(place, f"'{place}' is no part with a type", "invalid_type")


def _unsupported(place: str) -> ApiError:
    return invalid(place, f"'{place}' is not supported: leave it out", "unsupported_parameter")
