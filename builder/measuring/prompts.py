"""Prompts: a varied set in a fixed order, each marked so that no cache has seen its beginning."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from builder.errors import UsageError
from builder.prompt_lines import Prompt, read_line

SHIPPED = Path(__file__).parent / "prompts.jsonl"

MARK = 12
"""Characters of a mark."""


def read(path: Path = SHIPPED) -> tuple[Prompt, ...]:
    """Read lines of {"messages": [...]} or {"prompt": "..."}; raise UsageError naming the bad line."""
    return tuple(read_line("--prompts", path, number, line) for number, line in lines(path))


def lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that say something, each after its number; raise UsageError when there are none."""
    try:
        found = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"--prompts {path}: {failure}", expected="a file of JSON lines") from failure
    numbered = [(number, line) for number, line in enumerate(found, 1) if line.strip()]
    if not numbered:
        raise UsageError(f"--prompts {path} holds no prompt", expected='lines such as {"prompt": "Hello"}')
    return numbered


class Order:
    """The prompts of one run: the same seed gives the same order, the same salt the same marks.

    Every run goes through the prompts in the same order, so that runs can be paired; the marks of
    two runs differ, so that the second is not answered from what a cache kept of the first. They are
    put on by `mark`, which takes a prompt as the door takes it.
    """

    def __init__(
        self,
        prompts: Sequence[Any],
        seed: int,
        salt: str,
        run: str,
        mark: Callable[[Any, str], Any] | None = None,
    ) -> None:
        self._prompts, self._marked = list(prompts), mark or marked
        random.Random(seed).shuffle(self._prompts)
        self._salt, self._run = salt, run

    def prompt(self, index: int) -> Any:
        """Return the prompt of the request number `index`."""
        found = self._prompts[index % len(self._prompts)]
        return self._marked(found, self._mark(index)) if self._salt else found

    def _mark(self, index: int) -> str:
        name = f"{self._salt}/{self._run}/{index}".encode()
        return hashlib.blake2b(name, digest_size=MARK // 2).hexdigest()


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
