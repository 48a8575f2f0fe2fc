"""What tokens cost, model by model: a small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from builder.errors import UsageError
from builder.gateway.keys import money

ANY = "*"
"""Stands for the models that have no table of their own."""
_FORM = '[MODEL] or ["*"], each with prompt = AMOUNT and completion = AMOUNT for a million tokens'


@dataclass(frozen=True)
class Price:
    """Of a million tokens, in millionths of the currency."""

    prompt: int = 0
    completion: int = 0

    def of(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return what a request costs, in millionths, rounded up: no request with a price is free."""
        return -(-(prompt_tokens * self.prompt + completion_tokens * self.completion) // money.MICRO)


@dataclass(frozen=True)
class Prices:
    """Model -> price; models that are not there cost what ANY does, or nothing."""

    of_models: Mapping[str, Price] = field(default_factory=dict)

    def of(self, model: str) -> Price:
        """Return the price of a model's tokens."""
        return self.of_models.get(model, self.of_models.get(ANY, Price()))


def read(path: Path) -> Prices:
    """Return the prices in a file. Raises UsageError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return Prices({model: _price(model, table) for model, table in found.items()})
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: {error}", expected=_FORM) from error


def _price(model: str, table: Any) -> Price:
    if not isinstance(table, dict) or not table or not table.keys() <= {"prompt", "completion"}:
        raise ValueError(f"{model!r} does not hold prices")
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
            raise ValueError(f"{name} of {model!r} is no amount")
    return Price(**{name: money.amount(str(value)) for name, value in table.items()})
