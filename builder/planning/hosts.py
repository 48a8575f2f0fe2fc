"""The hosts of a model that spans several: how many, which, and what each of them takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builder.errors import PlanError, UsageError
from builder.planning.memory import Memory
from builder.planning.placement import MOST_GPUS, Split

FILE = "hosts"
"""Names of the hosts, as `mpirun --hostfile` reads them."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


def read(asked: str | None) -> tuple[int, tuple[str, ...]]:
    """Return the value of --hosts: their number, and their names, () for a number alone.

    Raises UsageError for a name that is none, or is there twice.
    """
    if asked is None:
        return 1, ()
    if asked.isascii() and asked.isdigit():
        if int(asked) < 1:
            raise UsageError(f"--hosts {asked}", expected="at least 1, or names between commas")
        return int(asked), ()
    names = tuple(asked.split(","))
    bad = [name for name in names if not _NAME.fullmatch(name)]
    if bad or len(set(names)) < len(names):
        raise UsageError(
            f"--hosts {asked}: " + (f"{bad[0]!r} names no host" if bad else "a name is there twice"),
            expected="their number, or their names or addresses between commas, such as gpu-a,gpu-b",
        )
    return len(names), names


def require(name: str, target: tuple[str, bool], split: Split, able: Sequence[str]) -> None:
    """Raise UsageError or PlanError, with the numbers, for ranks that hosts cannot share out.

    Args:
        name: the model's.
        target: its name, and whether it spans hosts.
        split: the ranks.
        able: the targets that do.
    """
    if split.hosts == 1:
        return
    if not target[1]:
        raise UsageError(
            f"--hosts {split.hosts}: target {target[0]} runs on one host",
            expected=" or ".join(f"--target {one}" for one in able),
            remedy="leave --hosts out, and serve a model on each host",
        )
    ranks = f"{split.gpus} rank{'s' * (split.gpus > 1)} of --tp {split.tensor} --pp {split.pipeline}"
    if split.gpus % split.hosts:
        fitting = [count for count in range(1, split.gpus + 1) if _fits(split.gpus, count)]
        raise PlanError(
            f"{name}: --hosts {split.hosts} does not divide the {ranks}",
            expected="as many ranks on each host",
            remedy="use " + " or ".join(f"`--hosts {count}`" for count in fitting[:3]),
        )
    if split.gpus_per_host > MOST_GPUS:
        raise PlanError(
            f"{name}: {ranks} are {split.gpus_per_host} on each of {split.hosts} hosts",
            expected=f"at most {MOST_GPUS} GPUs of a host",
            remedy=f"use `--hosts {fewest(split.gpus)}`",
        )


def fewest(ranks: int) -> int:
    """Return the fewest hosts that can share out ranks evenly."""
    return next(count for count in range(1, ranks + 1) if _fits(ranks, count))


def _fits(ranks: int, count: int) -> bool:
    return ranks % count == 0 and ranks // count <= MOST_GPUS


def weights(memory: Memory, split: Split) -> tuple[int, ...]:
    """Return the bytes of weights that each host has, of stages that are not equally full.

    A rank is in the stage of its number divided by the tensor-parallel GPUs (tensorrt_llm/mapping.py).
    """
    last = split.pipeline - 1
    ranks = [
        memory.weights - (memory.table if 0 < number // split.tensor < last else 0)
        for number in range(split.gpus)
    ]
    each = split.gpus_per_host
    return tuple(sum(ranks[first : first + each]) for first in range(0, split.gpus, each))


def file(names: Sequence[str], each: int) -> str:
    """Return the host file: a line for each host, with its slots, which are filled in this order."""
    return "".join(f"{name} slots={each}\n" for name in names)
