"""What a `--contract` value states about itself; one file per value in `contracts/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from builder import house
from builder.ensemble import Member, Pipeline
from builder.errors import UsageError

USUAL = "builder"

MODELS = "/models"
"""Where a container finds the repository: NVIDIA's backends are told of files by their path there."""


class Contract(Protocol):
    """What clients and Triton see of a model that some engine runs: which models, tensors and files."""

    TITLE: str
    TARGETS: tuple[str, ...]
    """Those that can be asked for it, () for all."""
    CONTAINERS: tuple[str, ...]
    """The tags of containers that can serve it; the last is planned for. () leaves that to the target."""
    IMAGE: str
    """The sort of container that alone serves it, such as "vllm-python-py3"; "" where any does that holds the
    engine, and the embedded server."""

    # one that asks something else of a container than its target has also NEEDS, as a target; one whose model
    # reads the engine's arguments elsewhere has `front_arguments(told)`, what settings.json says of them. One
    # whose form depends on the target has TITLE, TARGETS and `of(target) -> Contract` alone

    def members(self, pipeline: Pipeline) -> tuple[Member, ...]:
        """Return the Triton models, given those of ours."""
        ...

    def engine_arguments(self, planned: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the engine is told, given what its target planned for our front."""
        ...

    def files(self, told: Mapping[str, Any], home: str) -> dict[str, Any]:
        """Return the JSON files of the front's version folder, name -> content; YAML where a name ends so.

        Args:
            told: the engine's arguments, with what the user set.
            home: that folder's path where the server is.
        """
        ...


def load(name: str, target: str) -> Contract:
    """Return a contract; raise UsageError where there is none of that name, or not for the target."""
    found = house.plugin("contracts", name, option="--contract")
    if found.TARGETS and target not in found.TARGETS:
        raise UsageError(
            f"target {target} has no contract {name}",
            expected=f"--target {' or '.join(found.TARGETS)}",
            remedy="name that target, or leave --contract out",
        )
    return cast(Contract, found.of(target) if hasattr(found, "of") else found)
