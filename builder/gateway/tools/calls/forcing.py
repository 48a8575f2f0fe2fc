"""A grammar that forces calls: `tool_choice` "required", or a function by its name.

It is a JSON schema for all formats. It is the one kind of guide that every engine takes and that also holds
the arguments to the function's own schema; grammars differ from engine to engine (GBNF in xgrammar, Lark in
llguidance), and no regular expression nests. So a forced call has no marks around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from builder.gateway.tools.calls.values import Guide

_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
"""What OpenAI's `parameters` mean where they are left out: an empty list of them."""

_REFERENCES = ("$ref", "$dynamicRef")
_DATA = ("const", "enum", "default", "examples")
"""Keywords whose values are no schemas."""
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords whose values hold schemas by names, which are no keywords."""


def guide(tools: Sequence[Mapping[str, Any]], name: str | None, several: bool, key: str) -> Guide:
    """Return the guide under which a model writes nothing but calls.

    Args:
        tools: OpenAI's, each {"type": "function", "function": {"name", "parameters", ...}}.
        name: the function that is to be called, None for any of them.
        several: whether an array of one or more calls is wanted, else the object of a single one.
        key: what the format calls the arguments.

    Raises:
        KeyError: no function of that name is offered.
        ValueError: a schema is nested too deeply.
    """
    try:
        return Guide("json_schema", json.dumps(_wanted(tools, name, several, key), ensure_ascii=False))
    except RecursionError:
        raise ValueError("the parameters of a function are nested too deeply") from None


def _wanted(tools: Sequence[Mapping[str, Any]], name: str | None, several: bool, key: str) -> dict[str, Any]:
    offered = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    chosen = list(offered) if name is None else [name]
    # by numbers: a name may hold what means something else in a reference
    numbered = {str(number): one for number, one in enumerate(chosen)}
    definitions = {
        number: _located(offered[one] or _NOTHING, f"#/$defs/{number}") for number, one in numbered.items()
    }
    calls = [_call(one, key, f"#/$defs/{number}") for number, one in numbered.items()]
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    wanted = {"type": "array", "items": call, "minItems": 1} if several else call
    return {**wanted, "$defs": definitions}


def _call(name: str, key: str, place: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"enum": [name]}, key: {"$ref": place}},
        "required": ["name", key],
        "additionalProperties": False,
    }


def _located(schema: Any, place: str) -> Any:
    """Return a schema for another place in a document: its references to itself lead there."""
    if isinstance(schema, list):
        return [_located(one, place) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _REFERENCES and isinstance(value, str) and value.startswith("#"):
            moved[key] = place + value[1:]
        elif key in _NAMED and isinstance(value, Mapping):
            moved[key] = {name: _located(one, place) for name, one in value.items()}
        else:
            moved[key] = value if key in _DATA else _located(value, place)
    return moved
