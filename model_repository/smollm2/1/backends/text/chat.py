"""Chat messages to ids through the model's own template, without a way in for special tokens.

What users write is text: a `<|im_end|>` in it must not end their turn, nor one that comes about when the
template trims, joins or changes their texts. So the template is rendered once more with other characters
in the place of those with which added tokens begin and end. Where both hold the same added tokens, nobody
wrote any, and the first is encoded in one piece, exactly as the reference does it. Else only those of the
second count, which the template itself wrote.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.text.disguise import Disguise, Disguises, any_of, strings
from backends.text.encoding import Encoder


class ChatError(ValueError):
    """The messages are not what a chat is made of, or the template refuses them; the text is for clients."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's part for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 - the name and form that jinja2 asks for

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Chat:
    """The chat template of a tokenizer folder; `available` is False when it has none."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self._encoder = encoder
        self._added = any_of(encoder.added)
        path = folder / "chat_template.jinja"
        self.available = path.is_file()
        self._names = _token_names(folder / "tokenizer_config.json")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = time.strftime
        text = path.read_text(encoding="utf-8") if self.available else ""
        self._template = environment.from_string(text)
        self._disguises = Disguises(encoder, text)

    def encode(self, messages: str) -> list[int]:
        """Return the prompt ids of a JSON list of messages, or of {"messages": [...], "tools": [...]}.

        Raises ChatError when it is neither, or when the template refuses it.
        """
        if not self.available:
            raise ChatError("this model has no chat template: send text_input or input_ids")
        try:
            return self._encode(*_parse(messages))
        except RecursionError:
            raise ChatError("messages is nested too deeply") from None

    def _encode(self, chat: list[dict[str, Any]], tools: list[Any]) -> list[int]:
        disguise = self._disguise([*strings(chat), *strings(tools)])
        rendered = self._render(chat, tools)
        ids = self._encoder.encode(rendered, add_special_tokens=False)
        if not disguise:
            return ids
        disguised = self._render(disguise.put_on(chat), disguise.put_on(tools))
        text = disguise.taken_off(disguised)
        written = [self._encoder.id_of(match[0]) for match in self._added.finditer(disguised)]
        if text == rendered and self._encoder.controls(ids) == written:
            return ids
        return self._encoder.encode_around(text, disguised)

    def _disguise(self, texts: list[str]) -> Disguise:
        try:
            "".join(texts).encode()
            return self._disguises.of(texts)
        except UnicodeEncodeError:
            raise ChatError("messages holds half of a surrogate pair, which is no character") from None
        except ValueError as error:
            raise ChatError(str(error)) from None

    def _render(self, chat: Any, tools: Any) -> str:
        try:
            return self._template.render(
                messages=chat, tools=tools or None, add_generation_prompt=True, **self._names
            )
        except ChatError:
            raise
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise ChatError(f"the model's chat template refuses these messages: {error}") from error


def _parse(messages: str) -> tuple[list[dict[str, Any]], list[Any]]:
    try:
        value = json.loads(messages)
    except json.JSONDecodeError as error:
        raise ChatError(f"messages is not valid JSON: {error}") from error
    tools = value.get("tools") or [] if isinstance(value, dict) else []
    chat = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(chat, list) or not chat:
        raise ChatError('messages must be a JSON list such as [{"role": "user", "content": "Hello"}]')
    for place, message in enumerate(chat):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ChatError(f'messages[{place}] must be an object with a "role"')
        if not isinstance(message.get("content", ""), str | list | None):
            raise ChatError(f'messages[{place}]: "content" must be a string, a list of parts, or null')
    if not isinstance(tools, list):
        raise ChatError("tools must be a JSON list")
    return chat, tools


def _token_names(path: Path) -> dict[str, str]:
    """Return bos_token, eos_token and their like, which templates may write."""
    if not path.is_file():
        return {}
    settings = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = settings.get(name)
        found[name] = value["content"] if isinstance(value, dict) else value or ""
    return found


def _to_json(value: Any, indent: int | None = None, *, ensure_ascii: bool = False, **options: Any) -> str:
    # the sandbox's own filter escapes HTML, which is not what a prompt is
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise ChatError(f"the model's chat template refuses these messages: {message}")
