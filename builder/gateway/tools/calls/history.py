"""Past calls as chat templates take them: OpenAI's `arguments` are text, the templates' an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def with_objects(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the messages with the arguments of every call as an object; "" is an empty one.

    Raises ValueError that names the field whose text is no JSON object.
    """
    told = []
    for place, message in enumerate(messages):
        calls = message.get("tool_calls")
        changed = dict(message)
        if isinstance(calls, list):
            where = f"messages[{place}].tool_calls"
            changed["tool_calls"] = [_object(call, f"{where}[{number}]") for number, call in enumerate(calls)]
        told.append(changed)
    return told


def _object(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f'{where} must be an object with a "function" that has a "name"')
    arguments = function.get("arguments", "")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}.function.arguments is not valid JSON: {error}") from error
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{where}.function.arguments must be the JSON text of an object")
    return {**call, "function": {**function, "arguments": arguments}}


def one_call_a_message(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the messages with a message for each call, its result behind it."""
    told: list[dict[str, Any]] = []
    place = 0
    while place < len(messages):
        message = dict(messages[place])
        place += 1
        calls = message.get("tool_calls")
        if not isinstance(calls, list) or len(calls) < 2:
            told.append(message)
            continue
        results = []
        while place < len(messages) and messages[place].get("role") == "tool":
            results.append(dict(messages[place]))
            place += 1
        told += _paired(message, calls, results)
    return told


def _paired(
    message: Message, calls: Sequence[Any], results: Sequence[dict[str, Any]]
) -> Iterable[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    left = list(results)
    for number, call in enumerate(calls):
        beside = message.get("content") if number == 0 else None
        told.append({**message, "content": beside, "tool_calls": [call]})
        mine = [one for one in left if one.get("tool_call_id") == call.get("id")]
        told += mine
        left = [one for one in left if one not in mine]
    return [*told, *left]


def renamed(messages: Sequence[Message], name: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return the messages with other identifiers of calls, and of their results."""
    told = []
    for message in messages:
        changed = dict(message)
        if isinstance(changed.get("tool_calls"), list):
            changed["tool_calls"] = [
                {**call, "id": name(str(call.get("id", "")))} for call in changed["tool_calls"]
            ]
        if isinstance(changed.get("tool_call_id"), str):
            changed["tool_call_id"] = name(changed["tool_call_id"])
        told.append(changed)
    return told
