"""Formats of tool calls: one file for each, named by the value of a model's parameter `tool_format`.

Pure: text in, text and calls out. What a model is told of tools and of past calls is its own template's work,
in the front.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from builder.gateway.tools.calls.values import Arguments, Call, CallBegun, Event, Guide, Text, gathered

__all__ = [
    "Arguments",
    "Call",
    "CallBegun",
    "Event",
    "Format",
    "Guide",
    "Parser",
    "Text",
    "gathered",
    "load",
    "names",
]


class Parser(Protocol):
    """Reads one answer, which comes in pieces that are cut anywhere."""

    def feed(self, piece: str) -> list[Event]:
        """Return what the next piece makes certain."""
        ...

    def finish(self) -> list[Event]:
        """Return what is left when the answer ends, or breaks off."""
        ...


class Format(Protocol):
    """What each file here offers."""

    def parser(self, names: Collection[str], *, forced: bool = False) -> Parser:
        """Return a parser for one answer.

        Args:
            names: the functions that were offered.
            forced: whether the answer was written under `guide`.
        """
        ...

    def guide(
        self, tools: Sequence[Mapping[str, Any]], name: str | None = None, *, parallel: bool = True
    ) -> Guide:
        """Return what forces a call of a function, any of `tools` without a name; several where `parallel`.

        Raises KeyError where no function of that name is offered, ValueError for a schema nested too deeply.
        """
        ...

    def told(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return OpenAI's messages as the format's templates take them.

        Raises ValueError that names the field which cannot be told.
        """
        ...


def names() -> list[str]:
    """Return the formats that there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Format:
    """Return a format; raise KeyError where there is none of that name."""
    if name not in names():
        raise KeyError(name)
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))
