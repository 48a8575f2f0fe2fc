"""Mistral 7B v0.3, Nemo, and what shares their tokenizer's version 3: [TOOL_CALLS] and a list of calls.

The form of mistral-common's InstructTokenizerV3: [{"name": ..., "arguments": {...}}, ...]. [TOOL_CALLS] is a
control token, which is no part of a text unless a front shows it: the list alone, at the beginning of an
answer, means the same. Later versions write [TOOL_CALLS]NAME[ARGS]{...}, which is another format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from builder.gateway.tools.calls import forcing, history
from builder.gateway.tools.calls.parser import CallParser, Marks
from builder.gateway.tools.calls.values import Guide, new_short_id

OPENING = "[TOOL_CALLS]"

_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""What templates and mistral-common take for the identifier of a call."""


def parser(names: Collection[str], *, forced: bool = False) -> CallParser:
    """Return a parser for one answer; see Format."""
    return CallParser(Marks(OPENING, bare=True), names, new_short_id)


def guide(tools: Sequence[Mapping[str, Any]], name: str | None = None, *, parallel: bool = True) -> Guide:
    """Return what forces a call; see Format. A single one stands in a list too."""
    return forcing.guide(tools, name, parallel, "arguments")


def told(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with arguments as objects and identifiers of nine characters; see Format."""
    return history.renamed(history.with_objects(messages), _short)


def _short(identifier: str) -> str:
    """Return an identifier as it is, or nine characters that stand for it, always the same."""
    if _ID.fullmatch(identifier):
        return identifier
    return hashlib.sha256(identifier.encode(errors="surrogatepass")).hexdigest()[:9]
