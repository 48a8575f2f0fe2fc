"""Tool format: how a model writes calls of tools, by what its own chat template makes of a past call."""

from __future__ import annotations

import json
import re
import time
import tomllib
from typing import Any

from builder import house

# Mistral's templates take identifiers of nine letters and digits alone, Llama's one call in a message
_NAME, _ARGUMENTS, _ID = "look_up_probe", {"city": "Paris"}, "probe0001"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}},
    },
}
_CALL = {"id": _ID, "type": "function", "function": {"name": _NAME, "arguments": _ARGUMENTS}}
_ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Where?"}]
_CALLED: list[dict[str, Any]] = [
    *_ASKED,
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": _ID, "name": _NAME, "content": "here"},
]


def of(template: str) -> str:
    """Return the file of gateway/tools/ that reads such calls; "" for none, and where the form is unknown.

    The template has to write the tools that are offered, and a call in exactly one of the known forms.
    """
    offered = _rendered(template, _ASKED)
    if _NAME not in offered:
        return ""
    called = _rendered(template, _CALLED)
    fitting = [name for name, form in forms().items() if re.search(form, called)]
    return fitting[0] if len(fitting) == 1 else ""


def forms() -> dict[str, str]:
    """Return the known forms by name: the expression that finds the call which is tried."""
    text = (house.folder("data") / "tool_formats.toml").read_text(encoding="utf-8")
    name, arguments = re.escape(json.dumps(_NAME)), re.escape(json.dumps(_ARGUMENTS))
    return {
        one: form.replace("NAME", name).replace("ARGUMENTS", arguments)
        for one, form in tomllib.loads(text).items()
    }


def _rendered(template: str, messages: list[dict[str, Any]]) -> str:
    """Return what the template makes of messages and the tool, "" where it takes none of that."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = time.strftime
    try:
        return environment.from_string(template).render(
            messages=messages, tools=[_TOOL], add_generation_prompt=True, bos_token="", eos_token=""
        )
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return ""


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> None:
    raise ValueError(message)
