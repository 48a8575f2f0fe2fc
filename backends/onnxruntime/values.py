"""What Triton's backends read out of a parameter, which is always text (backend/src/backend_common.cc)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_TRUE = ("true", "on", "1")
_FALSE = ("false", "off", "0")


class Refused(ValueError):
    """What the model asks for is not done; the text is that of NVIDIA's backend where it has one."""


def whole(told: str, kind: str = "integral number") -> int:
    """Read a number as std::stoi does: what follows its digits is ignored."""
    found = re.match(r"\s*[+-]?\d+", told)
    if found is None:
        raise Refused(f"failed to convert '{told}' to {kind}")
    return int(found[0])


def switch(told: str) -> bool:
    """Read true, on or 1, or their opposites, in any case."""
    if told.lower() not in (*_TRUE, *_FALSE):
        raise Refused(f"failed to convert '{told}' to boolean")
    return told.lower() in _TRUE


def one_of(name: str, parameters: Mapping[str, str], meanings: Sequence[str]) -> str:
    """Read a number that stands for one of some words, 0 where it is not told."""
    place = whole(parameters.get(name, "0"))
    if not 0 <= place < len(meanings):
        raise Refused(f"unsupported {name} value '{place}' is requested")
    return meanings[place]
