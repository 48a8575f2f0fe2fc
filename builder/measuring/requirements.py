"""Requirements: what a deployment must hold, such as `ttft_p95<500ms, error_rate==0`, asked of every run."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.errors import UsageError
from builder.measuring import kinds
from builder.measuring.task import Load

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
# unit -> (what it measures, how many of the unit in which figures are kept)
UNITS = {"ms": ("time", 1.0), "s": ("time", 1000.0), "MB": ("memory", 1.0), "GB": ("memory", 1000.0)}
UNITS |= {"": ("number", 1.0), "%": ("number", 0.01)}
MEMORY = {"cpu_pss": "pss", "cpu_rss": "rss", "cpu_peak_rss": "peak_rss", "shared_memory": "shared"}
GPU_MEMORY = "gpu_memory"

_RULE = re.compile(r"\s*(\w+)\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([A-Za-z]*|%)\s*", re.ASCII)


@dataclass(frozen=True)
class Requirement:
    """`metric operator limit`; the limit is in ms, MB or a plain number, `text` and `unit` as written."""

    metric: str
    operator: str
    limit: float
    text: str
    unit: str = ""

    def holds(self, run: Mapping[str, Any]) -> bool:
        """Return whether a run holds it; a figure that was not measured holds nothing."""
        value = figure(run, self.metric)
        return value is not None and OPERATORS[self.operator](value, self.limit)


@dataclass(frozen=True)
class Miss:
    """A requirement that one run did not hold; `value` None: the run has no such figure."""

    requirement: Requirement
    load: str
    repeat: int
    value: float | None

    def measured(self) -> str:
        """Return the value in the unit of the requirement, as a person reads it."""
        if self.value is None:
            return "not measured"
        unit = self.requirement.unit
        return f"{self.value / UNITS[unit][1]:.10g} {unit}".rstrip()


def metrics(kind: kinds.Kind = kinds.STREAMING) -> dict[str, str]:
    """Return every metric that can be required of a kind, and what it measures: time, memory or number."""
    found = {f"{time}_{statistic}": "time" for time in kind.times for statistic in kinds.STATISTICS}
    found |= dict.fromkeys(kind.numbers, "number")
    return found | dict.fromkeys((*MEMORY, GPU_MEMORY), "memory")


def parse(text: str) -> tuple[Requirement, ...]:
    """Read requirements separated by commas; raise UsageError naming the part that is none."""
    return tuple(_parsed(part) for part in text.split(","))


def require_known(requirements: Sequence[Requirement], kind: kinds.Kind, name: str) -> None:
    """Raise UsageError for what no run of that kind tells, before anything is measured in vain."""
    known = metrics(kind)
    for one in requirements:
        if one.metric not in known:
            raise UsageError(
                f"--require: {name} does not stream text, its runs have no {one.metric}",
                expected=f"one of {', '.join(known)}",
            )


def _parsed(part: str) -> Requirement:
    read = _RULE.fullmatch(part)
    if read is None:
        raise UsageError(
            f"--require: {part.strip()!r} is no requirement",
            expected=f"METRIC OPERATOR VALUE UNIT, such as ttft_p95<500ms, with one of {' '.join(OPERATORS)}",
        )
    metric, sign, value, unit = read.groups()
    known = metrics()
    bare = metric.removesuffix("_ms")
    if bare != metric and known.get(bare) == "time" and unit in ("", "ms"):  # its name in the JSON
        metric, unit = bare, "ms"
    if metric not in known:
        near = difflib.get_close_matches(metric, known, 1, cutoff=0.5)
        raise UsageError(
            f"--require: there is no metric {metric}" + (f"; did you mean {near[0]}?" if near else ""),
            expected=f"one of {', '.join(known)}",
        )
    allowed = [name for name, (measures, _) in UNITS.items() if measures == known[metric]]
    if unit not in allowed:
        raise UsageError(
            f"--require: {part.strip()!r} has {f'the unit {unit}' if unit else 'no unit'}",
            expected=f"{metric} in {' or '.join(name or 'no unit' for name in allowed)}",
        )
    return Requirement(metric, sign, float(value) * UNITS[unit][1], part.strip(), unit)


def figure(run: Mapping[str, Any], metric: str) -> float | None:
    """Return a run's figure in ms, MB or as it stands; None when the run has none."""
    if metric in kinds.STREAMING.numbers:
        value = run.get(metric)
    elif metric in MEMORY:
        value = run["memory"]["cpu_mb"].get(MEMORY[metric])
    elif metric == GPU_MEMORY:
        value = sum(run["memory"]["gpu_mb"].values()) if run["memory"]["gpu_mb"] else None
    else:
        time, _, statistic = metric.rpartition("_")
        value = (run.get(f"{time}_ms") or {}).get(statistic)
    return None if value is None else float(value)


def missed(requirements: Sequence[Requirement], runs: Sequence[Mapping[str, Any]]) -> list[Miss]:
    """Return every requirement that some run did not hold, with what was measured instead."""
    return [
        Miss(one, Load(**run["load"]).title(), run["repeat"], figure(run, one.metric))
        for one in requirements
        for run in runs
        if not one.holds(run)
    ]
