"""Llama 3.1 to 3.3: the whole answer is a call, {"name": ..., "parameters": {...}}, and no mark announces it.

Meta's "JSON based tool calling" (https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1). Some
answers begin with <|python_tag|>, a control token that is no part of a text unless a front shows it; several
calls stand one after the other, with a semicolon or whitespace between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from builder.gateway.tools.calls import forcing, history
from builder.gateway.tools.calls.parser import CallParser, Marks
from builder.gateway.tools.calls.values import Guide, new_id

OPENING = "<|python_tag|>"


def parser(names: Collection[str], *, forced: bool = False) -> CallParser:
    """Return a parser for one answer; see Format."""
    return CallParser(Marks(OPENING, bare=True, separator=";"), names, new_id)


def guide(tools: Sequence[Mapping[str, Any]], name: str | None = None, *, parallel: bool = True) -> Guide:
    """Return what forces a call; see Format."""
    return forcing.guide(tools, name, parallel, "parameters")


def told(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with arguments as objects, and a message for each call; see Format.

    The templates refuse a message with several ("only supports single tool-calls at once").
    """
    return history.one_call_a_message(history.with_objects(messages))
