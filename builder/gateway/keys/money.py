"""Amounts of money as whole millionths, so that sums are exact; the currency is the user's affair."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MICRO = 1_000_000
MOST = 10**12
"""The largest amount: its millionths and their sums fit into the 64 bits of a database's integer."""


def amount(text: str) -> int:
    """Return an amount such as "12.50" in millionths. Raises ValueError, saying what is expected."""
    expected = f"an amount of 0 to {MOST:,} with up to 6 decimal places is expected"
    try:
        value = Decimal(text) * MICRO
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number: {expected}") from None
    if not value.is_finite() or not 0 <= value <= MOST * MICRO or value != int(value):
        raise ValueError(f"{text!r} is out of range: {expected}")
    return int(value)


def show(micro: int) -> str:
    """Return millionths as an amount with at least two decimal places."""
    whole, part = divmod(micro, MICRO)
    digits = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{digits}"
