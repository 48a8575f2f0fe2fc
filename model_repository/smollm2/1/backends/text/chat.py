"""Chat messages to ids through the model's own template, without a way in for special tokens.

What users write is text: a `<|im_end|>` in it must not end their turn. Where a message holds the
text of an added token, a sentinel takes its place while the template is rendered, and the text is
encoded without added tokens afterwards. Where none does, template and text are encoded in one piece,
exactly as the reference does it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.text.encoding import Encoder

_PRIVATE_USE = range(0xE000, 0xF8FF)


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
        # without any, a pattern that matches nothing
        self._added = re.compile("|".join(map(re.escape, encoder.added)) or "(?!)")
        self._starts = frozenset(token[:size] for token in encoder.added for size in range(1, len(token)))
        self._longest = max(map(len, self._starts), default=0)
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
        mark = self._free_characters(chat, tools)
        literals: list[str] = []
        chat, tools = (self._masked(part, mark, literals) for part in (chat, tools))
        rendered = self._render(chat, tools)
        if not literals:
            return self._encoder.encode(rendered, add_special_tokens=False)
        return self._encode_around(re.split(f"{mark[0]}(\\d+){mark[1]}", rendered), literals)

    def _encode_around(self, pieces: list[str], literals: list[str]) -> list[int]:
        """Encode text in which every second piece is the number of a literal that must stay text.

        The template's own tokens are cut out first; each run of text between them is encoded in one
        piece, as it would be if the literal had no meaning.
        """
        ids: list[int] = []
        run = ""
        for place, piece in enumerate(pieces):
            if place % 2:
                run += literals[int(piece)]
                continue
            for part in re.split(f"({self._added.pattern})", piece):
                if part not in self._encoder.added:
                    run += part
                    continue
                ids += [*self._encoder.encode_plain(run), *self._encoder.encode(part, False)]
                run = ""
        return [*ids, *self._encoder.encode_plain(run)]

    def _render(self, chat: Any, tools: Any) -> str:
        try:
            return self._template.render(
                messages=chat, tools=tools or None, add_generation_prompt=True, **self._names
            )
        except ChatError:
            raise
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise ChatError(f"the model's chat template refuses these messages: {error}") from error

    def _masked(self, value: Any, mark: tuple[str, str], literals: list[str]) -> Any:
        """Return the value with every added token's text, at any depth, as a numbered sentinel."""

        def hidden(text: str) -> str:
            literals.append(text)
            return f"{mark[0]}{len(literals) - 1}{mark[1]}"

        if isinstance(value, str):
            # the end of a text may become a token with whatever the template puts behind it
            sizes = range(min(self._longest, len(value)), 0, -1)
            end = len(value) - next((size for size in sizes if value[-size:] in self._starts), 0)
            shown = self._added.sub(lambda match: hidden(match[0]), value[:end])
            return shown + (hidden(value[end:]) if value[end:] else "")
        if isinstance(value, list):
            return [self._masked(one, mark, literals) for one in value]
        if isinstance(value, dict):
            return {
                self._masked(key, mark, literals): self._masked(one, mark, literals)
                for key, one in value.items()
            }
        return value

    def _free_characters(self, *parts: Any) -> tuple[str, str]:
        used = set("".join(text for part in parts for text in _strings(part)))
        if any("\ud800" <= character <= "\udfff" for character in used):
            raise ChatError("messages holds half of a surrogate pair, which is no character")
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
        first, second = next(free, ""), next(free, "")
        if not second:
            raise ChatError("messages uses every character of the private use area, which no text does")
        return first, second


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


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from (key, *_strings(one))


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


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    # the sandbox's own filter escapes HTML, which is not what a prompt is
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> None:
    raise ChatError(f"the model's chat template refuses these messages: {message}")
