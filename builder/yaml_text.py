"""YAML that TensorRT-LLM and its Triton models read, and one truth or number of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def dump(content: Mapping[str, Any]) -> str:
    """Return a mapping of plain numbers, words, lists and mappings as YAML, in its own order."""
    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, default_flow_style=False))


def of_section(text: str, section: str, key: str) -> bool | int | None:
    """Return a truth or a whole number of a top-level mapping, None for anything else or nothing.

    Args:
        text: a YAML file; one that is none holds nothing.
    """
    try:
        # not by libyaml, which ends the process where a file nests too deeply
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    inside = content.get(section) if isinstance(content, dict) else None
    found = inside.get(key) if isinstance(inside, dict) else None
    return found if isinstance(found, bool | int) else None
