"""Tables of a TOML file, taken apart value by value; what is wrong is told with its place in the file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from builder.errors import UsageError

LONGEST = 256
"""Characters of a name."""


class Table:
    """One table; every value is taken once, and `end` refuses what nobody took. All raise UsageError."""

    def __init__(self, path: Path, place: str, given: Any) -> None:
        """`place` is its dotted name in the file, "" for the whole of it."""
        self._path = path
        self._place = place
        if not isinstance(given, Mapping):
            raise self.wrong("", f"is {_shown(given)}", f"a table [{place}]")
        self._values = dict(given)

    def table(self, name: str) -> Mapping[str, Any] | None:
        """Return a table as it stands."""
        value = self._values.pop(name, None)
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(name, f"is {_shown(value)}", f"a table [{self._dotted(name)}]")
        return value

    def inner(self, name: str) -> Table | None:
        """Return a table within this one."""
        value = self.table(name)
        return None if value is None else Table(self._path, self._dotted(name), value)

    def within(self, table: str, name: str, given: Any) -> Table:
        """Return what stands in a table of this one that was taken."""
        return Table(self._path, f"{self._dotted(table)}.{_plain(name)}", given)

    def names_of(self) -> Sequence[str]:
        """Return the names of what was not taken yet."""
        return list(self._values)

    @overload
    def name(self, name: str) -> str | None: ...
    @overload
    def name(self, name: str, *, required: bool) -> str: ...
    def name(self, name: str, *, required: bool = False) -> str | None:
        """Return the name of a model."""
        value = self._take(name, "the name of a model", required)
        return None if value is None else self.require_name(value, "a model", name)

    def names(self, name: str) -> tuple[str, ...]:
        """Return names of models, each there once; none where nothing is said."""
        value = self._values.pop(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, f"is {_shown(value)}", 'a list of models, ["a", "b"]')
        for one in value:
            self.require_name(one, "a model", name)
        if len(set(value)) < len(value):
            raise self.wrong(name, f"is {_shown(value)}", "each model once")
        return tuple(value)

    def number(
        self, name: str, lowest: float, highest: float, default: float = 0.0, *, required: bool = False
    ) -> float:
        """Return a number within its range."""
        return float(self._within(name, lowest, highest, default, (int, float), required))

    def whole(self, name: str, lowest: int, highest: int, default: int) -> int:
        """Return a whole number within its range."""
        return int(self._within(name, lowest, highest, default, (int,)))

    def end(self, *known: str) -> None:
        """Refuse what nobody took, saying which of the known names was probably meant."""
        for name in self._values:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(
                f"{self._path}: {self._dotted(name)} is unknown",
                expected=", ".join(known),
                remedy=f"did you mean {near[0]!r}?" if near else "leave it out",
            )

    def require_name(self, value: Any, what: str, name: str = "") -> str:
        """Return what is fit for a name."""
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.strip()) <= LONGEST:
            expected = f"the name of {what}: up to {LONGEST} printable characters"
            raise self.wrong(name, f"is {_shown(value)}" if name else f"names {_shown(value)}", expected)
        return value

    def wrong(self, name: str, found: str, expected: str) -> UsageError:
        """Return the error of a value in this table, of the table itself for ""."""
        place = self._dotted(name) if name else self._place
        return UsageError(f"{self._path}: {place or 'the file'} {found}", expected=expected)

    def _within(
        self,
        name: str,
        lowest: float,
        highest: float,
        default: float,
        kinds: tuple[type, ...],
        required: bool = False,
    ) -> float:
        kind = "a whole number" if kinds == (int,) else "a number"
        expected = f"{kind} of {lowest:g} to {highest:,.10g}"
        value = self._take(name, expected, required)
        if value is None:
            return default
        if type(value) not in kinds or not math.isfinite(value) or not lowest <= value <= highest:
            raise self.wrong(name, f"is {_shown(value)}", expected)
        return float(value)

    def _take(self, name: str, expected: str, required: bool) -> Any:
        if required and name not in self._values:
            raise self.wrong(name, "is missing", expected)
        return self._values.pop(name, None)

    def _dotted(self, name: str) -> str:
        return f"{self._place}.{_plain(name)}" if self._place else _plain(name)


def _plain(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
