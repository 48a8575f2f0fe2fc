"""As much of YAML as is written and looked for here: nested mappings, and one truth or number in them.

Every scalar is one of JSON's, which YAML 1.1 (PyYAML) and 1.2 read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TRUTHS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}


def dump(content: Mapping[str, Any]) -> str:
    """Return a mapping as block-style YAML; lists stay on one line."""
    return "".join(f"{line}\n" for line in _lines(content, ""))


def _lines(content: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in content.items():
        name = key if re.fullmatch(r"[A-Za-z]\w*", key) and key.lower() not in _RESERVED else json.dumps(key)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_scalar(value)}"


_RESERVED = {*_TRUTHS, "null", "y", "n"}


def _scalar(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # PyYAML takes 1e-05 for a word: its numbers have a point before the exponent
    return re.sub(r"^(-?\d+)e", r"\1.0e", text) if isinstance(value, float) else text


def of_section(text: str, section: str, key: str) -> bool | int | None:
    """Return a truth or a whole number of a top-level mapping, in block or flow style, None for none there.

    Args:
        text: a YAML file.
    """
    inside = _section(text, section)
    found = re.search(rf"""(?:^|[\s{{,])["']?{re.escape(key)}["']?\s*:\s*([^\s,}}#]+)""", inside)
    word = found[1].lower() if found else ""
    if re.fullmatch(r"\d{1,9}", word):
        return int(word)
    return _TRUTHS.get(word)


def _section(text: str, name: str) -> str:
    """Return what stands under a top-level key, without comments, "" where there is no such key."""
    plain = [re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines()]
    start = re.compile(rf"""["']?{re.escape(name)}["']?\s*:(.*)""")
    held: list[str] | None = None
    for line in plain:
        begun = start.match(line)
        if begun:
            held = [begun[1]]
        elif held is not None:
            if line.strip() and not line[0].isspace() and line[0] != "}":
                break
            held.append(line)
    return "\n".join(held or ())
