"""TRN10x: config.pbtxt as text: what Triton's parser refuses, and what it would not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from builder import data_types, textproto
from builder.completion import completes
from builder.layout import Model
from builder.rule import Fault, Host, closest, rule
from builder.textproto import Path, Place

_POSITION = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)
_FIELD_BEFORE = re.compile(r"""(\w+)\s*:\s*[\["']?\s*$""")
_LINE_READ = re.compile(r"^'.*?': (?=[A-Z])", re.DOTALL)
_NO_SUCH_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named "?(\w+)')
_QUOTED_OR_COMMENT = re.compile(r"""(?P<quoted>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|\#[^\n]*""")
_LONGEST_NAME = 200
_IN_STRINGS = re.compile(r"\$\{\w+\}")
_ELSEWHERE = re.compile(r"\$\{\w*\}|\{\{\s*\w+\s*\}\}|<[A-Z_]{3,}>")

NEWER: dict[Path, str] = {
    ("model_metrics",): "24.11",
    ("ensemble_scheduling", "max_inflight_requests"): "25.11",
}
"""Fields by the first release that knows them; to an older one each is a syntax error."""


@rule("TRN101")
def config_unreadable(model: Model, host: Host) -> Iterator[Fault]:
    """A config is a ModelConfig in protobuf's text format.

    Triton: Error parsing text-format inference.ModelConfig
    Bad:
        max_batch_size: eight
    Good:
        max_batch_size: 8
    """
    if not model.parse_error or model.unread is not None or any(_unknown_fields(model)):
        return
    if not model.text and not (model.path / "config.pbtxt").exists():
        # a folder that is no model at all is stray_folder's to tell
        if not model.is_stray and not completes(model, host):
            yield Fault((), model.parse_error, "write it: Triton writes one itself for few backends only")
        return
    position = _POSITION.match(model.parse_error)
    place = Place(int(position[1]), int(position[2])) if position else None
    if place and place.line in _lines_unfilled(model):
        return
    message = _LINE_READ.sub("", position[3] if position else model.parse_error)
    yield Fault((), message, _mending(message), place=place)


@rule("TRN102")
def field_unknown(model: Model) -> Iterator[Fault]:
    """Every field of a config exists, under exactly this name and in this place.

    Triton: Message type "inference.ModelConfig" has no field named "max_batchsize"
    Bad:
        max_batchsize: 8
    Good:
        max_batch_size: 8
    """
    for place, name, kind, near in _unknown_fields(model):
        yield Fault(
            (),
            f'Message type "{kind}" has no field named "{name}"',
            f"did you mean {near}?" if near else f"remove it: {kind.split('.')[-1]} has no such field",
            place=place,
        )


@rule("TRN103")
def field_too_new(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A config has no field that is newer than the server: an older one takes it for a syntax error.

    `--triton` names the release that is to serve the repository.

    Triton: Message type "inference.ModelConfig" has no field named "model_metrics"
    Bad:
        model_metrics { }
    Good:
        # left to the server's own metrics
        max_batch_size: 8
    """
    for path, since in NEWER.items():
        if not host.has(since) and _is_set(config, path):
            yield Fault(
                path,
                f'Triton {host.triton} knows no field "{path[-1]}", which came with {since}',
                f"remove it, or serve the model by {since} or later",
            )


@rule("TRN104")
def placeholder_unfilled(model: Model) -> Iterator[Fault]:
    """No placeholder of a template is left: Triton takes it for a syntax error, or in a string for the value.

    Some templates leave those in strings on purpose, where the backend takes them for "not set".

    Bad:
        max_batch_size: ${max_batch_size}
    Good:
        max_batch_size: 8
    """
    lines = model.text.split("\n")
    for place, text, in_string in _placeholders(model):
        field = _FIELD_BEFORE.search(
            lines[place.line - 1][max(0, place.column - _LONGEST_NAME) : place.column - 1]
        )
        what = f"{field[1]} " if field else ""
        yield Fault(
            (),
            f"{what}{text} was never filled in",
            f"fill in the template, or write the value of {what.strip() or 'this field'}",
            place=place,
            severity="warning" if in_string else None,
        )


def _mending(message: str) -> str:
    """Return what to do about what the parser of protobuf says."""
    unknown = _NO_SUCH_VALUE.search(message)
    if unknown:
        return _mending_of_value(*unknown.groups())
    if "another member of oneof" in message:
        if '"ensemble_scheduling"' in message:
            return "remove the other: an ensemble has no batching of its own, its steps have"
        return "keep one of the two fields: Triton takes either, never both"
    return "mend that line"


def _mending_of_value(kind: str, value: str) -> str:
    from tritonclient.grpc import model_config_pb2

    known = model_config_pb2.DESCRIPTOR.pool.FindEnumTypeByName(kind).values_by_name
    if value in known:
        return f"write {value} without quotes"
    usual = data_types.USUAL_NAMES.get(value.removeprefix("TYPE_").upper())
    near = f"TYPE_{usual}" if usual else closest(value, known)
    return f"did you mean {near}?" if near else f"write one of {', '.join(known)}"


def _unknown_fields(model: Model) -> Iterator[tuple[Place, str, str, str]]:
    """Yield (place, name, message type, name probably meant) of every field that does not exist."""
    from tritonclient.grpc import model_config_pb2

    outside: set[Path] = set()
    unfilled = _lines_unfilled(model)
    for path, place in textproto.places(_filled_in(model)).names() if model.parse_error else ():
        if place.line in unfilled or any(path[:end] in outside for end in range(2, len(path) + 1, 2)):
            continue
        kind = _message_at(model_config_pb2.ModelConfig.DESCRIPTOR, path[:-2])
        name = str(path[-2])
        # what is no name at all is for the parser to tell
        if kind is not None and name.isidentifier() and name not in kind.fields_by_name:
            outside.add(path)
            yield place, name, kind.full_name, closest(name, kind.fields_by_name)


def _message_at(kind: Any, path: Path) -> Any:
    for name in path[::2]:
        field = kind.fields_by_name.get(name)
        if field is None or field.message_type is None:
            return None
        kind = field.message_type
    return kind


def _placeholders(model: Model) -> list[tuple[Place, str, bool]]:
    """Return (place, text, whether it is in a string) of what a template left."""
    found = []
    for number, line in enumerate(model.text.split("\n") if _may_be_unfilled(model.text) else (), 1):
        # blanks of the same length keep the columns
        bare = _QUOTED_OR_COMMENT.sub(lambda part: " " * len(part[0]), line)
        for part in _QUOTED_OR_COMMENT.finditer(line):
            for match in _IN_STRINGS.finditer(part["quoted"] or ""):
                found.append((Place(number, part.start() + match.start() + 1), match[0], True))
        found += [(Place(number, match.start() + 1), match[0], False) for match in _ELSEWHERE.finditer(bare)]
    return sorted(found)


def _may_be_unfilled(text: str) -> bool:
    return "${" in text or "{{" in text or "<" in text


def _filled_in(model: Model) -> str:
    """Return the text with words in place of what makes it unreadable, each of the same length."""
    lines = model.text.split("\n")
    for place, text, in_string in _placeholders(model):
        if not in_string:
            line = lines[place.line - 1]
            end = place.column - 1 + len(text)
            lines[place.line - 1] = line[: place.column - 1] + "0" * len(text) + line[end:]
    return "\n".join(lines)


def _lines_unfilled(model: Model) -> set[int]:
    """Return the lines on which a placeholder makes the text unreadable."""
    return {place.line for place, _, in_string in _placeholders(model) if not in_string}


def _is_set(config: Any, path: Path) -> bool:
    for name in path[:-1]:
        if not config.HasField(name):
            return False
        config = getattr(config, str(name))
    descriptor = config.DESCRIPTOR.fields_by_name[path[-1]]
    value = getattr(config, str(path[-1]))
    return config.HasField(path[-1]) if descriptor.message_type is not None else bool(value)
