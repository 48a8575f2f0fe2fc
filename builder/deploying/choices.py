"""What the options of a deployment may say, and what is nearest to what they may not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import UsageError
from builder.planning import versions

OLDEST_PYTHON = (3, 11)
"""The packages of docker/requirements have no wheels for an older one."""

SMALLEST_MEMORY = 6 << 20
"""Docker refuses a lower limit."""

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def release(asked: str | None, facts: Sequence[Mapping[str, Any]], newest: str) -> str:
    """Return the release to serve with: what was asked for, or what engines demand, or the newest.

    `facts` are the plans of the fronts. Raises UsageError where an engine was built for another release.
    """
    built = {
        str(fact["name"]): str(fact["compilation"]["triton"]) for fact in facts if fact.get("compilation")
    }
    tag = next(iter(built.values()), newest) if asked is None else asked
    other = [f"{name} for {its}" for name, its in built.items() if its != tag]
    if other:
        raise UsageError(
            f"an engine loads only in the release that built it: {', '.join(other)}, not {tag}",
            expected="one release for all models of a server",
            remedy=f"`builder build --triton {tag}` builds for it, or leave --triton out",
        )
    return tag


def containers() -> dict[str, versions.Container]:
    """Return the containers by tag that can hold our packages, oldest first."""
    return {
        name: row
        for name, row in versions.containers().items()
        if row.python and _python(row) >= OLDEST_PYTHON
    }


def container(tag: str) -> versions.Container:
    """Return the container of a tag; raise UsageError naming the nearest that can hold our packages."""
    fitting = containers()
    if tag in fitting:
        return fitting[tag]
    every = versions.containers()
    found = (
        f"--triton {tag!r} has Python {every[tag].python}, too old for the packages that the models need"
        if tag in every
        else f"--triton {tag!r} is not in the table"
    )
    near = _nearest(tag, list(fitting))
    raise UsageError(
        found,
        expected=f"one of {', '.join(fitting)}",
        remedy=f"the nearest is --triton {near}" if near else "name a month, such as 26.08",
    )


def _python(row: versions.Container) -> tuple[int, ...]:
    return tuple(map(int, row.python.split(".")))


def _nearest(tag: str, tags: list[str]) -> str:
    wanted = _months(tag)
    if wanted is None:
        return ""
    return min(tags, key=lambda one: (abs((_months(one) or 0) - wanted), one))


def _months(tag: str) -> int | None:
    read = re.match(r"(\d{2})\.(\d{1,2})(?!\d)", tag)
    return None if read is None else 12 * int(read[1]) + int(read[2])


def address(bind: str) -> str:
    """Return an IP address as a port mapping writes it; raise UsageError when it is none."""
    try:
        parsed = ipaddress.ip_address(bind)
    except ValueError as error:
        raise UsageError(
            f"--bind {bind!r} is not an IP address",
            expected="an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them",
        ) from error
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


def require_different(ports: Mapping[str, int]) -> None:
    """Raise UsageError when two of the ports are one."""
    owners: dict[int, str] = {}
    for name, port in ports.items():
        if port in owners:
            raise UsageError(
                f"--{owners[port]}-port and --{name}-port are both {port}",
                expected="different ports",
                remedy=f"pass another --{name}-port",
            )
        owners[port] = name


def gpus(asked: str | None, needed: int) -> str:
    """Return "all", a number, or "" for none; without `asked`, what the models need.

    Raises:
        UsageError: it is neither, or fewer than the models need.
    """
    if asked is None:
        return str(needed) if needed else ""
    if asked == "all":
        return asked
    if asked != "none" and not re.fullmatch(r"[1-9]\d*", asked):
        raise UsageError(f"--gpus {asked!r} is no number of GPUs", expected="all, 1, 2, ... or none")
    number = 0 if asked == "none" else int(asked)
    if number < needed:
        raise UsageError(
            f"--gpus {asked}, but the models were built for {needed}",
            remedy=f"pass --gpus {needed}, or rebuild the models for a CPU",
        )
    return str(number) if number else ""


def memory(asked: str | None, weights: int, shared: int) -> int | None:
    """Return a limit in bytes, None for no limit.

    Raises:
        UsageError: it is no size, or the `weights` and the `shared` memory alone, in bytes, exceed it.
    """
    if asked is None:
        return None
    read = re.fullmatch(r"([1-9]\d*)([bkmg]?)(?:i?b)?", asked.strip().lower())
    if read is None:
        raise UsageError(f"--memory {asked!r} is no size", expected="a number with k, m or g, such as 8g")
    size = int(read[1]) * _UNITS[read[2]]
    if size < max(SMALLEST_MEMORY, weights + shared):
        raise UsageError(
            f"--memory {asked} is less than the weights ({weights:,} bytes) and the shared memory "
            f"({shared:,} bytes) take",
            remedy=f"pass --memory {-(-max(SMALLEST_MEMORY, weights + shared) // _UNITS['m'])}m or more",
        )
    return size
