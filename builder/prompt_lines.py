"""Lines of files that hold prompts: {"prompt": "..."} or {"messages": [...]}."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.errors import UsageError

Prompt = str | list[dict[str, Any]]
"""A plain text, or chat messages."""


def read_line(option: str, path: Path, number: int, line: str) -> Prompt:
    """Return what a line of the file that `option` names holds; raise UsageError naming the line."""
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
        f"{option} {path}, line {number}: {line[:80]}",
        expected='{"messages": [{"role": "user", "content": "..."}]} or {"prompt": "..."}',
    )
