"""What builds of a recipe's model may lose on held-out texts, where that is not what their precision says.

A small model loses more in few bits than the larger ones that the limits of a precision are for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from builder import house
from builder.errors import UsageError
from builder.quantization import Limits

NAMES = tuple(one.name for one in fields(Limits))


def parse(path: Path, table: Any) -> dict[str, Limits]:
    """Return precision -> limits of the tables [limits.PRECISION] in a recipe's file.

    Raises UsageError for a precision or a field that there is not, and for what is no positive number.
    """
    if not isinstance(table, dict) or not all(isinstance(one, dict) for one in table.values()):
        raise UsageError(f"{path}: limits is {table!r}", expected="tables such as [limits.int4]")
    known = house.plugin_names("quantizations")
    for name in table:
        if name not in known:
            raise UsageError(
                f"{path}: [limits.{name}] is of no precision",
                expected=f"one of {', '.join(known)}",
                remedy=_nearest(name, known),
            )
    return {name: _limits(f"{path}: [limits.{name}]", told) for name, told in table.items()}


def _limits(where: str, told: Mapping[str, Any]) -> Limits:
    for name in told:
        if name not in NAMES:
            raise UsageError(
                f"{where} {name} means nothing there",
                expected=f"{', '.join(NAMES)}",
                remedy=_nearest(name, NAMES),
            )
    for name in NAMES:
        value = told.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise UsageError(f"{where} {name} is {value!r}", expected="a number above 0")
    return Limits(**{name: float(told[name]) for name in NAMES})


def _nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "remove it"
