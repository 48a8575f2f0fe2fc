"""NVIDIA's config.pbtxt templates: `${name}` where a value is to stand, filled or not.

Outside of a string a placeholder keeps the file from being read. Inside one the backend takes it for "not
set" (model_instance_state.cc of TensorRT-LLM), so it may stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.errors import SourceError

_PART = re.compile(
    r"""(?P<quoted>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<comment>\#[^\n]*)|\$\{(?P<bare>\w+)\}"""
)
_COMPLAINT = re.compile(r"(?P<row>\d+):(?P<column>\d+) : '(?P<line>.*)': (?P<why>.*)", re.DOTALL)
_AROUND = 60
"""Characters shown on each side of a mistake: a template's steps are one line of thousands."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """A text; `bare` are the placeholders that must be filled, `quoted` those within strings."""

    text: str
    bare: tuple[str, ...]
    quoted: tuple[str, ...]


def read(text: str) -> Template:
    """Find the placeholders of a text, each once, in the order of the text."""
    bare: dict[str, None] = {}
    quoted: dict[str, None] = {}
    for part in _PART.finditer(text):
        if part["bare"]:
            bare.setdefault(part["bare"])
        elif part["quoted"]:
            quoted.update(dict.fromkeys(_PLACEHOLDER.findall(part["quoted"])))
    return Template(text, tuple(bare), tuple(quoted))


def fill(template: Template, values: Mapping[str, str]) -> str:
    """Return the text with the values in their places; others within strings stay.

    Raises KeyError for a placeholder outside of strings that has no value.
    """

    def value(part: re.Match[str]) -> str:
        if part["bare"]:
            return values[part["bare"]]
        if part["comment"]:
            return ""
        return _PLACEHOLDER.sub(lambda name: _quoted(values.get(name[1], name[0])), part[0])

    return _PART.sub(value, template.text)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'").replace("\n", "\\n")


def is_unset(value: str) -> bool:
    """Say whether a parameter's value is none: empty, or a placeholder that was left."""
    return not value.strip() or _PLACEHOLDER.search(value) is not None


def parse(text: str, where: str) -> Any:
    """Return a ModelConfig; raise SourceError where the text is none."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{where} is no ModelConfig: {_said(str(error))}",
            expected="protobuf's text format, as Triton reads it",
            remedy="mend that line, or pass another value with --fill",
        ) from error


def _said(error: str) -> str:
    """Return what protobuf says, of a long line no more than what stands around the place."""
    found = _COMPLAINT.fullmatch(error)
    if found is None:
        return error if len(error) <= 3 * _AROUND else f"{error[: 3 * _AROUND]}..."
    line, column, why = found["line"], int(found["column"]) - 1, found["why"]
    first, last = max(0, column - _AROUND), column + _AROUND
    near = f"{'...' * (first > 0)}{line[first:last]}{'...' * (last < len(line))}"
    told = why if len(why) <= 2 * _AROUND else f"{why[: 2 * _AROUND]}..."
    return f"{found['row']}:{found['column']} : '{near}': {told}"
