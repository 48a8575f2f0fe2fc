"""What the engine is told: what its target plans, and what `--set engine.NAME=VALUE` puts in its place."""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from builder.adapter import Adapter
from builder.errors import UsageError
from builder.planning.asked import Question
from builder.planning.memory import Memory
from builder.target import Placed

_PREFIX = "engine."
_INSTEAD = "instead of "
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
        stored=question.subject.stored,
        half=_half(question),
        config=question.subject.config,
        name=question.subject.name,
    )
    support = question.quantization.targets.get(question.target)
    besides = dict(support.engine) if support else {}
    told = question.contract.engine_arguments({**question.way.engine_arguments(placed), **besides})
    for text in question.options.settings:
        name, value = _setting(text, question)
        told = {**told, name: _beside(told.get(name), value, _fields(question.way.SETTABLE, name))}
    require = getattr(question.way, "require_arguments", None)
    if require is not None:
        require(placed, told)
    return told


def _fields(known: Mapping[str, str], name: str) -> dict[str, str]:
    """Return what is said of single fields of an object: those of `NAME.FIELD`, by the field."""
    return {one.removeprefix(f"{name}."): kind for one, kind in known.items() if one.startswith(f"{name}.")}


def _beside(planned: Any, value: Any, fields: Mapping[str, str]) -> Any:
    """Return an object that was set beside what was planned of it, any other value as it is."""
    if not isinstance(planned, dict) or not isinstance(value, dict):
        return value
    instead = [fields.get(field, "").removeprefix(_INSTEAD) for field in value]
    return {**{field: one for field, one in planned.items() if field not in instead}, **value}


def _half(question: Question) -> str:
    """Return the 16 bits of what is not quantised: bfloat16 for a source that is wider."""
    found = (question.computed_in, question.precision, question.subject.precision)
    return next((one for one in found if one in ("bf16", "fp16")), "bf16")


def _setting(text: str, question: Question) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.startswith(_PREFIX):
        raise UsageError(f"--set {text!r}", expected="engine.NAME=VALUE")
    name = name.removeprefix(_PREFIX)
    known = question.way.SETTABLE
    if name not in known or known[name].startswith(_INSTEAD):
        raise UsageError(
            f"--set {text!r}: target {question.target} lets nothing named {name!r} be set",
            expected=_nearest(name, {one: kind for one, kind in known.items() if "." not in one}),
        )
    read = _value(text, value, known[name])
    for field in read if isinstance(read, dict) else ():
        _require_free(f"--set {text!r}: {field}", _fields(known, name).get(field, ""))
    return name, read


def _value(text: str, value: str, kind: str) -> Any:
    """Return what a kind of `data/*_arguments.toml` reads in a value; raise UsageError where it is none."""
    _require_free(f"--set {text!r}", kind)
    if "|" in kind:
        if value not in kind.split("|"):
            raise UsageError(f"--set {text!r}", expected=f"one of {', '.join(kind.split('|'))}")
        return value
    if kind.startswith("object"):
        return _object(text, value, kind)
    name, *bounds = re.split(r"(?=[<>])", kind)
    try:
        read = _KINDS[name](value)
        numbers = read if isinstance(read, list) else [read]
        if not all(_within(number, bound) for bound in bounds for number in numbers):
            raise ValueError(value)
    except ValueError as error:
        limits = " and ".join(re.sub(r"(?<=[<>=])(?=\d)", " ", bound) for bound in bounds)
        raise UsageError(f"--set {text!r}", expected=f"{_EXPECTED[name]} {limits}".rstrip()) from error
    return read


def _require_free(found: str, kind: str) -> None:
    """Raise UsageError for what an option of its own decides, or nobody may."""
    if kind.startswith("no: "):
        raise UsageError(f"{found} is refused", expected=kind.removeprefix("no: "))
    if kind.startswith("--"):
        decide = "decide" if " and " in kind else "decides"
        raise UsageError(found, expected=f"{kind}, which {decide} it", remedy=f"use {kind}")


def _object(text: str, value: str, kind: str) -> dict[str, Any] | None:
    """Return the object of a kind `object: FIELD FIELD`; one of `object?` may be null."""
    sort, _, told = kind.partition(": ")
    fields, may_be_null = told.split(), sort.endswith("?")
    try:
        read = _json(value)
    except ValueError:
        read = value
    if read is None and may_be_null:
        return None
    if not isinstance(read, dict):
        such = f'{{"{fields[0]}": ...}}' if fields else "{...}"
        either = ", or null" if may_be_null else ""
        raise UsageError(f"--set {text!r}", expected=f"a JSON object, such as {such}{either}")
    unknown = [name for name in read if fields and name not in fields]
    if unknown:
        near = difflib.get_close_matches(unknown[0], fields)
        raise UsageError(
            f"--set {text!r}: it has no field {', '.join(map(repr, unknown))}",
            expected=f"fields among {', '.join(near or fields)}",
        )
    return read


def _within(number: float, bound: str) -> bool:
    sign = bound.rstrip("0123456789")
    return _COMPARED[sign](number, float(bound.removeprefix(sign)))


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


def _numbers(text: str) -> list[int]:
    value = _json(text)
    if not isinstance(value, list) or not value or not all(type(one) is int for one in value):
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_KINDS: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "ints": _numbers,
    "float": _number,
    "bool": _flag,
    "string": str,
    "json": _json,
}
_EXPECTED = {
    "int": "a whole number",
    "ints": "whole numbers in brackets, such as [4096] or [4096,8192], each",
    "float": "a number",
    "bool": "true or false",
    "string": "a word",
    "json": 'JSON, such as {"method": "ngram"}',
}
