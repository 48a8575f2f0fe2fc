"""Prompts: a varied set in a fixed order, each marked so that no cache has seen its beginning."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.errors import UsageError

SHIPPED = Path(__file__).parent / "prompts.jsonl"

Prompt = str | list[dict[str, Any]]
"""A plain text, or chat messages."""


def read(path: Path = SHIPPED) -> tuple[Prompt, ...]:
    """Read lines of {"messages": [...]} or {"prompt": "..."}; raise UsageError naming the bad line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"--prompts {path}: {failure}", expected="a file of JSON lines") from failure
    found = tuple(_prompt(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not found:
        raise UsageError(f"--prompts {path} holds no prompt", expected='lines such as {"prompt": "Hello"}')
    return found


def _prompt(path: Path, number: int, line: str) -> Prompt:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        messages, text = fields.get("messages"), fields.get("prompt")
        if isinstance(text, str) and messages is None:
            return text
        chat = isinstance(messages, list) and all(isinstance(one, dict) for one in messages)
        if chat and messages and text is None:
            return list(messages)
    raise UsageError(
        f"--prompts {path}, line {number}: {line[:80]}",
        expected='{"messages": [{"role": "user", "content": "..."}]} or {"prompt": "..."}',
    )


class Order:
    """The prompts of one run: the same seed gives the same order, the same salt the same marks.

    Every run goes through the prompts in the same order, so that runs can be paired; the marks of
    two runs differ, so that the second is not answered from what a cache kept of the first.
    """

    def __init__(self, prompts: Sequence[Prompt], seed: int, salt: str, run: str) -> None:
        self._prompts = list(prompts)
        random.Random(seed).shuffle(self._prompts)
        self._salt, self._run = salt, run

    def prompt(self, index: int) -> Prompt:
        """Return the prompt of the request number `index`."""
        found = self._prompts[index % len(self._prompts)]
        return marked(found, self._mark(index)) if self._salt else found

    def _mark(self, index: int) -> str:
        name = f"{self._salt}/{self._run}/{index}".encode()
        return hashlib.blake2b(name, digest_size=6).hexdigest()


def marked(prompt: Prompt, mark: str) -> Prompt:
    """Put a mark at the very beginning: a prefix cache compares from there."""
    if isinstance(prompt, str):
        return f"[{mark}] {prompt}"
    first, *others = prompt
    content = first.get("content")
    if isinstance(content, list):  # text and images
        return [{**first, "content": [{"type": "text", "text": f"[{mark}]"}, *content]}, *others]
    return [{**first, "content": f"[{mark}] {content or ''}"}, *others]


def as_text(prompt: Prompt) -> str:
    """Return a prompt for a model that takes no messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(message.get("content") or "") for message in prompt)


def as_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return a prompt for a chat."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
