"""What the engine is told: what its target plans, and what `--set engine.NAME=VALUE` puts in its place."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from builder.adapter import Adapter
from builder.errors import UsageError
from builder.planning.asked import Question
from builder.planning.memory import Memory
from builder.target import Placed

_PREFIX = "engine."
_FEW = 8


def of(
    question: Question, memory: Memory, concurrency: int, adapters: tuple[Adapter, ...] = ()
) -> dict[str, Any]:
    """Return the arguments by name; raise UsageError for a setting that the target does not know."""
    placed = Placed(
        device=question.device,
        dimensions=question.subject.dimensions,
        precision=question.computed_in or question.precision,
        cache_type=question.cache_type,
        speculation=question.speculation,
        memory=memory,
        concurrency=concurrency,
        split=question.split,
        adapters=adapters,
    )
    planned = question.contract.engine_arguments(question.way.engine_arguments(placed))
    asked = dict(_setting(text, question) for text in question.options.settings)
    return {**planned, **asked}


def _setting(text: str, question: Question) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith(_PREFIX):
        raise UsageError(f"--set {text!r}", expected="engine.NAME=VALUE")
    name = name.removeprefix(_PREFIX)
    known = question.way.SETTABLE
    if name not in known:
        raise UsageError(
            f"--set {text!r}: target {question.target} lets nothing named {name!r} be set",
            expected=_nearest(name, known),
        )
    if known[name].startswith("--"):
        raise UsageError(
            f"--set {text!r}", expected=f"{known[name]}, which decides it", remedy=f"use {known[name]}"
        )
    try:
        return name, _KINDS[known[name]](value)
    except ValueError as error:
        raise UsageError(f"--set {text!r}", expected=_EXPECTED[known[name]]) from error


def _nearest(name: str, known: Mapping[str, str]) -> str:
    if not known:
        return "no --set for this target"
    like = difflib.get_close_matches(name, known)
    if like or len(known) <= _FEW:
        return f"engine.{', engine.'.join(like or known)}"
    return f"one of {len(known)} names, such as engine.{', engine.'.join(list(known)[:_FEW])}"


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "float": _number,
    "bool": _flag,
    "string": str,
    "json": _json,
}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a word",
    "json": 'JSON, such as {"method": "ngram"}',
}
