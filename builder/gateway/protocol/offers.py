"""The functions that a chat offers its model: `tools`, `tool_choice`, `parallel_tool_calls`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builder.gateway import tools
from builder.gateway.protocol.bodies import Body, clean
from builder.gateway.protocol.calls import Delta, Readers
from builder.gateway.protocol.errors import invalid, unsupported
from builder.gateway.tools import Arguments, CallBegun, Event, Format
from builder.gateway.triton.served import Served

MOST = 128
"""OpenAI's limit for the tools of one request."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""OpenAI's form of a function's name."""

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Offer:
    """What a chat's tools mean to the parts that it goes through.

    Args:
        told: rewrites messages as the model's template takes past calls, or raises ValueError that
            begins with a field.
        tools: for the template, None where none are offered.
        readers: make what reads calls out of answers.
        inputs: of the front, which force a call.
    """

    told: Callable[[Messages], Messages]
    tools: Sequence[Any] | None = None
    readers: Readers | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> Mapping[str, str]:
        """Return by input of the front the parameter that it is made of."""
        if not self.inputs:
            return {}
        return {"guided_decoding_guide_type": "tool_choice", "guided_decoding_guide": "tools"}


def take(model: Served, body: Body) -> Offer:
    """Return what a body offers. Raises ApiError, also where the model tells of no format for calls."""
    choice, parallel = body.take("tool_choice", str, dict), body.flag("parallel_tool_calls", True)
    offered = _tools(body)
    form = _format(model)
    told = _none_told if form is None else form.told
    if not offered and choice not in (None, "none", "auto"):
        raise unsupported("tool_choice", "there are no tools to choose from")
    if not offered or choice == "none":
        return Offer(told)
    if form is None:
        raise unsupported("tools", f"the model '{model.name}' tells of no format for tool calls")
    names = [tool["function"]["name"] for tool in offered]
    name = _chosen(choice, names)
    if choice in (None, "auto"):
        return Offer(told, offered, lambda: Reader(form, names, several=parallel))
    several = parallel and name is None
    try:
        guide = form.guide(offered, name, parallel=several)
    except ValueError as error:
        raise invalid("tools", f"'tools': {error}") from None
    inputs = {"guided_decoding_guide_type": guide.kind, "guided_decoding_guide": guide.text}
    return Offer(told, offered, lambda: Reader(form, names, several=several, forced=True), inputs)


def takes_tools(model: Served) -> bool:
    """Say whether a chat may offer the model functions."""
    return model.chats and _format(model) is not None


def _format(model: Served) -> Format | None:
    """Return the format that the model's config names; None for none, or one that is not known here."""
    name = model.parameters.get("tool_format")
    try:
        return _load(name) if name else None
    except KeyError:
        return None


_load = functools.cache(tools.load)


def _none_told(messages: Messages) -> Messages:
    for place, message in enumerate(messages):
        if message.get("tool_calls") or message["role"] == "tool":
            name = "role" if message["role"] == "tool" else "tool_calls"
            raise ValueError(f"messages[{place}].{name} is of tools: this model tells of no format for them")
    return messages


def _tools(body: Body) -> list[Any]:
    offered: list[Any] = body.take("tools", list) or []
    if len(offered) > MOST:
        raise invalid(
            "tools", f"'tools' has {len(offered)} entries, at most {MOST} are taken", "invalid_value"
        )
    names = [_function(f"tools[{place}]", tool) for place, tool in enumerate(offered)]
    for name in names:
        if names.count(name) > 1:
            raise invalid("tools", f"'tools' has two functions called '{name}'", "invalid_value")
    # halves of characters, which no protocol sends
    clean("tools", json.dumps(offered, ensure_ascii=False))
    return offered


def _function(place: str, tool: Any) -> str:
    """Return the name of a function that is offered."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind != "function":
        raise invalid(f"{place}.type", f"'{place}.type' must be function", "invalid_value")
    told = tool.get("function")
    if not isinstance(told, dict):
        raise invalid(f"{place}.function", f"'{place}.function' must be an object", "invalid_type")
    name = told.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = f"'{place}.function.name' must have 1 to 64 letters, digits, underscores and dashes"
        raise invalid(f"{place}.function.name", message, "invalid_value")
    for key, wanted in (("description", str), ("parameters", dict), ("strict", bool)):
        if told.get(key) is not None and not isinstance(told[key], wanted):
            where = f"{place}.function.{key}"
            raise invalid(where, f"'{where}' is of the wrong type", "invalid_type")
    return name


def _chosen(choice: Any, names: Sequence[str]) -> str | None:
    """Return the function that has to be called, None for any or none."""
    if choice in (None, "auto", "required"):
        return None
    told = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str):
        message = "'tool_choice' must be none, auto, required, or an object that names a function"
        raise invalid("tool_choice", message, "invalid_value")
    if name not in names:
        raise invalid(
            "tool_choice", "'tool_choice' names a function that 'tools' does not have", "invalid_value"
        )
    return name


class Reader:
    """Reads the calls of one answer, see calls.Reader; without `several` only the first one."""

    def __init__(self, form: Format, names: Sequence[str], *, several: bool, forced: bool = False) -> None:
        self._parser = form.parser(names, forced=forced)
        self._several = several
        self._called = False

    def push(self, text: str) -> list[Delta]:
        """Return what a piece of text adds."""
        return self._deltas(self._parser.feed(text))

    def end(self) -> list[Delta]:
        """Return what was held back."""
        return self._deltas(self._parser.finish())

    def finish_reason(self, reason: str) -> str:
        """Return `tool_calls` for an answer that ended by itself and called something."""
        return "tool_calls" if self._called and reason == "stop" else reason

    def _deltas(self, events: Sequence[Event]) -> list[Delta]:
        self._called = self._called or any(isinstance(event, CallBegun) for event in events)
        return [_delta(event) for event in events if self._several or getattr(event, "index", 0) == 0]


def _delta(event: Event) -> Delta:
    if isinstance(event, CallBegun):
        function = {"name": event.name, "arguments": ""}
        call = {"index": event.index, "id": event.id, "type": "function", "function": function}
        return {"tool_calls": [call]}
    if isinstance(event, Arguments):
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
    return {"content": event.text}
