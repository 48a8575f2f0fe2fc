"""The seam for tool calls: what an answer's text goes through on its way to a chat's client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Delta = Mapping[str, Any]
"""What goes into a chunk's `delta`: {"content": "..."} or {"tool_calls": [{"index": 0, ...}]}."""


class Reader(Protocol):
    """Reads the text of one answer, piece by piece; what may yet become a call is held back."""

    def push(self, text: str) -> Sequence[Delta]:
        """Return what a piece of text adds."""
        ...

    def end(self) -> Sequence[Delta]:
        """Return what was held back; nothing follows."""
        ...

    def finish_reason(self, reason: str) -> str:
        """Return `tool_calls` for the front's reason where the answer called a tool."""
        ...


Readers = Callable[[], Reader]
"""Makes the reader of each answer."""


def message(deltas: Sequence[Delta]) -> dict[str, Any]:
    """Return the deltas of a whole answer as one message of the assistant."""
    texts = [delta["content"] for delta in deltas if delta.get("content") is not None]
    calls: dict[int, dict[str, Any]] = {}
    for call in [call for delta in deltas for call in delta.get("tool_calls", ())]:
        _add(calls.setdefault(call["index"], {"function": {"name": "", "arguments": ""}}), call)
    content = "".join(texts)
    made: dict[str, Any] = {"role": "assistant", "content": content if content or not calls else None}
    thoughts = "".join(delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta)
    made |= {"reasoning_content": thoughts} if thoughts else {}
    return made | ({"tool_calls": [calls[place] for place in sorted(calls)]} if calls else {})


def _add(call: dict[str, Any], delta: Mapping[str, Any]) -> None:
    call |= {name: value for name, value in delta.items() if name not in ("index", "function")}
    for name, value in delta.get("function", {}).items():
        call["function"][name] += value or ""
