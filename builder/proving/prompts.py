"""The golden prompts as chats and texts."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

EPSILON = 0.05
"""Logits this close to the best are ties: two correct kernels may choose either."""


@dataclass(frozen=True)
class Prompt:
    """A chat (`messages`) or a `text` to complete; the other is None."""

    id: str
    text: str | None
    messages: tuple[dict[str, str], ...] | None


def load() -> tuple[list[Prompt], int]:
    """Return the prompts, and how many tokens each is answered with at the most."""
    path = Path(__file__).parent.parent / "data" / "golden.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [_prompt(row) for row in table["prompt"]], int(table["tokens"])


def _prompt(row: dict[str, str]) -> Prompt:
    if "text" in row:
        return Prompt(row["id"], row["text"], None)
    roles = (("system", "system"), ("user", "user"), ("assistant", "assistant"), ("again", "user"))
    turns = tuple({"role": role, "content": row[key]} for key, role in roles if key in row)
    return Prompt(row["id"], None, turns)
