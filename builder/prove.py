"""Evidence: what the artifact answers, and how far that is from its source, before anything is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from builder import house
from builder.convert import Artifact
from builder.plan import Plan

Progress = Callable[[str, float], None]


class Evidence(Protocol):
    """What was proven; each kind of pipeline has its own, in `proving/`."""

    @property
    def golden(self) -> Path:
        """The file with inputs and answers that `verify` asks the live endpoint for."""
        ...

    def rows(self) -> list[tuple[str, str]]:
        """Return it for people: what was looked at, and the figure."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps; the golden file by its digest."""
        ...


def prove(plan: Plan, artifact: Artifact, progress: Progress) -> Evidence:
    """Run artifact and source on the same inputs; results are kept beside the artifact.

    Raises:
        ProofError: the artifact does not run, or lost more than its quantization may.
    """
    kind = house.plugin("proving", plan.kind, option="kind")
    return cast(Evidence, kind.prove(plan, artifact, progress))
