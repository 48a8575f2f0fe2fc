"""Profile: how fast engines were measured, which is how a plan chooses between them on a CPU.

The rows of data/profile.toml are from one machine; ratios between engines carry over, tokens/s do not.
A user's own come from `builder measure --output`.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from builder.errors import UsageError


@dataclass(frozen=True)
class Row:
    """Tokens per second of all requests together, with so many of them at once."""

    engine: str
    concurrency: int
    tokens_per_second: float


@dataclass(frozen=True)
class Choice:
    """An engine and the reason, "" where there was nothing to choose."""

    engine: str
    why: str


@cache
def shipped() -> tuple[Row, ...]:
    """Return the rows of data/profile.toml."""
    text = (Path(__file__).parent.parent / "data" / "profile.toml").read_text(encoding="utf-8")
    return tuple(Row(**row) for row in tomllib.loads(text)["measured"])


def read(option: str) -> tuple[Row, ...]:
    """Return the closed-loop runs of a measurement as rows, medians over its repeats.

    Args:
        option: ENGINE=FILE, the file written by `builder measure --output`.

    Raises UsageError when it is neither, or holds no such run.
    """
    engine, _, file = option.partition("=")
    try:
        if not engine or not file:
            raise ValueError("no ENGINE=FILE")
        rates: dict[int, list[float]] = {}
        for run in json.loads(Path(file).read_text(encoding="utf-8"))["runs"]:
            if run["load"]["kind"] == "closed":
                rates.setdefault(int(run["load"]["concurrency"]), []).append(float(run["tokens_per_second"]))
        if not rates:
            raise ValueError("no run with --concurrency in it")
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise UsageError(
            f"--profile {option}: {failure}",
            expected="ENGINE=FILE, the file from `builder measure --concurrency 1,16 --output FILE`",
        ) from failure
    return tuple(Row(engine, at_once, median(values)) for at_once, values in sorted(rates.items()))


def require_choice(options: Sequence[str], engines: Sequence[str]) -> None:
    """Raise UsageError for a measurement, ENGINE=FILE, that can choose nothing between these engines."""
    for option in options:
        engine, equals, _ = option.partition("=")
        if len(engines) == 1:
            raise UsageError(
                f"--profile {option}: there is no engine to choose, only {engines[0]} runs what is planned",
                remedy="leave --profile out",
            )
        if equals and engine not in engines:
            raise UsageError(f"--profile {option}", expected=f"a measurement of {' or '.join(engines)}")


def choose(engines: Sequence[str], concurrency: int, rows: Sequence[Row]) -> Choice:
    """Return the engine that was fastest at the measured load nearest to `concurrency`.

    Nearest as a ratio; an engine without rows is taken only when none has any, the first of them.
    """
    found = {engine: _nearest(engine, concurrency, rows) for engine in engines}
    measured = [row for row in found.values() if row is not None]
    if len(engines) == 1 or not measured:
        return Choice(engines[0], "")
    best, *others = sorted(measured, key=lambda row: -row.tokens_per_second)
    beside = ", ".join(f"{row.engine} {row.tokens_per_second:.0f} at {row.concurrency}" for row in others)
    why = f"measured {best.tokens_per_second:.0f} tokens/s at {best.concurrency} at once"
    return Choice(best.engine, why + (f"; {beside}" if beside else ""))


def _nearest(engine: str, concurrency: int, rows: Sequence[Row]) -> Row | None:
    own = [row for row in rows if row.engine == engine]
    return min(own, key=lambda row: abs(math.log(row.concurrency / concurrency)), default=None)
