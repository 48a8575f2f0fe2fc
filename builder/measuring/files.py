"""The files of a measurement: places that are proven before the work, measurements written and read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import UsageError
from builder.measure import SCHEMA, Measurement
from builder.measuring import kinds
from builder.measuring.errors import MeasureError
from builder.measuring.task import Load

_FIELDS = ("name", "door", "url", "command", "date", "machine", "settings", "runs")


def require_creatable(option: str, path: Path) -> None:
    """Raise UsageError when no new file can be made there: /proc, for one, only seems to allow it."""
    if path.exists():
        return
    target = Path(os.path.realpath(path))
    try:
        target.open("x").close()
        target.unlink()
    except OSError as failure:
        raise UsageError(
            f"{option} {path} cannot be written: {failure.strerror}",
            expected="a file in a folder to write in",
        ) from failure


def write(texts: Iterable[tuple[str, Path, str]]) -> MeasureError | None:
    """Write each text of (option, path, text); return what could not be written instead of raising it."""
    failures = []
    for option, path, text in texts:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as failure:
            failures.append(f"{option} {path} could not be written: {failure.strerror}")
    if not failures:
        return None
    return MeasureError(
        "; ".join(failures), remedy="make room there, or name another file, and measure again"
    )


def read(path: Path) -> Measurement:
    """Read a file that `--output` wrote; raise MeasureError when it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise _wrong(path, str(failure.strerror)) from failure
    except (ValueError, RecursionError) as failure:
        raise _wrong(path, "it is no JSON") from failure
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise _wrong(path, "it has another schema or none")
    try:
        return _measurement(found)
    except (KeyError, ValueError, TypeError, AttributeError) as failure:
        raise _wrong(path, "a field is missing or of another kind") from failure


def _wrong(path: Path, why: str) -> MeasureError:
    return MeasureError(
        f"{path} is no measurement of `builder measure`: {why}",
        expected=f'a file with "schema": "{SCHEMA}", unchanged since it was written',
        remedy="builder measure --output FILE",
    )


def _measurement(found: Mapping[str, Any]) -> Measurement:
    fields = {name: found[name] for name in _FIELDS}
    if not fields["runs"] or not isinstance(fields["settings"].get("fields", {}), dict):
        raise ValueError("nothing to compare")
    for run in fields["runs"]:
        _require_run(run)
    return Measurement(**{**fields, "runs": tuple(fields["runs"])})


def _require_run(run: Mapping[str, Any]) -> None:
    Load(**run["load"]).title()
    kind = kinds.of(run)
    times = [run[f"{time}_ms"] or {} for time in kind.times]
    numbers = {name: run[name] for name in kind.numbers}
    for table in (numbers, {"repeat": run["repeat"]}, *times, *map(run["memory"].get, ("cpu_mb", "gpu_mb"))):
        for value in table.values():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{value!r} is no number")
