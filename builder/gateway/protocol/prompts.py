"""Prompts and inputs: a text, an array of token ids, or an array of either."""

from __future__ import annotations

from typing import Any

from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.errors import invalid

Prompt = str | list[int]
MOST = 2048
"""OpenAI's limit for the inputs of one request."""
LARGEST_ID = 2**31 - 1


def prompts(body: Body, name: str) -> list[Prompt]:
    """Return what a parameter holds, one entry for each text, all texts or all ids. Raises ApiError."""
    value = body.need(name, str, list)
    if isinstance(value, str):
        return [clean(name, value)]
    if not value:
        raise invalid(name, f"'{name}' is empty", "invalid_value")
    if type(value[0]) is int:
        return [_ids(name, value)]
    if len(value) > MOST:
        raise invalid(name, f"'{name}' has {len(value)} entries, at most {MOST} are allowed", "invalid_value")
    if all(isinstance(one, str) for one in value):
        return [clean(name, one) for one in value]
    if all(isinstance(one, list) for one in value):
        return [_ids(name, one) for one in value]
    for place, one in enumerate(value):
        if isinstance(one, dict):
            where = f"{name}[{place}]"
            raise invalid(where, f"'{where}' is an object: texts and token ids are taken", "invalid_type")
    message = f"'{name}' must be a string, an array of token ids, or an array of one of these"
    raise invalid(name, message, "invalid_type")


def _ids(name: str, value: Any) -> list[int]:
    if not value:
        raise invalid(name, f"'{name}' holds an empty array of token ids", "invalid_value")
    for one in value:
        if type(one) is not int:
            raise invalid(name, f"'{name}' holds an array with something that is no token id", "invalid_type")
        if not 0 <= one <= LARGEST_ID:
            raise invalid(name, f"'{name}' holds a token id out of range", "invalid_value")
    return list(value)
