"""What a `--target` value states about itself; one file per value in `targets/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from builder.architecture import Dimensions


class Target(Protocol):
    """A way to run a model: what it can do, and how a checkpoint becomes its artifact."""

    TITLE: str
    PIPELINE: str
    """The file of `ensembles/` that the deployment follows."""
    ENGINES: Mapping[str, tuple[str, ...]]
    """Device (cpu, gpu) -> the files of `backends/engine/` that its front can host there, the usual first."""
    WITNESS: str
    """The file of `proving/` that runs the artifact by its own library, nothing of ours between."""
    SPANS_GPUS: bool
    BUILDS: bool
    """False while a target can be planned, but not yet built, by this version."""
    REQUIREMENTS: Mapping[str, str]
    """Importable module -> the pip requirement that brings it, for building and serving."""

    def engine_arguments(self, device: str, dimensions: Dimensions) -> dict[str, Any]:
        """Return what settings.json tells the engine."""
        ...

    def convert(
        self, checkpoint: Path, quantization: str, arguments: tuple[str, ...], device: str, out: Path
    ) -> list[str]:
        """Return the command that turns a Hugging Face folder into the artifact in the folder `out`."""
        ...

    def progress(self, log: str, dimensions: Dimensions) -> float:
        """Read from the converter's log which share is done, 0 to 1."""
        ...
