"""Hermes, and Qwen 2.5 and 3: each call between <tool_call> and </tool_call>.

The form of https://github.com/NousResearch/Hermes-Function-Calling: {"name": ..., "arguments": {...}}.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from builder.gateway.tools.calls import forcing, history
from builder.gateway.tools.calls.parser import CallParser, Marks
from builder.gateway.tools.calls.values import Guide, new_id

OPENING, CLOSING = "<tool_call>", "</tool_call>"


def parser(names: Collection[str], *, forced: bool = False) -> CallParser:
    """Return a parser for one answer; see Format."""
    return CallParser(Marks(OPENING, CLOSING, bare=forced), names, new_id)


def guide(tools: Sequence[Mapping[str, Any]], name: str | None = None, *, parallel: bool = True) -> Guide:
    """Return what forces a call; see Format."""
    return forcing.guide(tools, name, parallel, "arguments")


def told(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with arguments as objects; see Format."""
    return history.with_objects(messages)
