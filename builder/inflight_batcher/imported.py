"""What is told of a repository of NVIDIA's templates, and the repository as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import BuilderError
from builder.inflight_batcher import templates
from builder.inflight_batcher.engine_folder import EngineFolder
from builder.planning.placement import Gpu
from builder.planning.resolving import Resolution

ENGINE, TOKENIZING = "tensorrt_llm", "preprocessing"

MODELS = (ENGINE, TOKENIZING, "postprocessing", "ensemble", "tensorrt_llm_bls")
"""NVIDIA's own names, by which the models ask each other."""

Values = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Answers:
    """What the command line tells: values of placeholders, where engine and tokenizer are."""

    values: Mapping[str, str]
    engine: Path | None = None
    tokenizer: Path | None = None
    triton: str | None = None
    card: Gpu | None = None
    driver: str = ""


@dataclass(frozen=True)
class Imported:
    """A repository as it was read.

    `models` are its configs by name, with a likely value in each place that nothing tells, but those that
    cannot be read so; `names` are all that are there. `values` are the placeholders that were filled, with
    where each value is from, `unset` those that stay the backend's choice. `version` is the TensorRT-LLM that
    its tensors are of, `card` the GPU that was asked for. `differences` are told where its tensors are not
    NVIDIA's, `changes` where they are written otherwise, since the engine is of another version; `problems`
    are what keeps it from being written, each with what mends it, first of all why there is no `engine`.
    """

    path: Path
    names: tuple[str, ...]
    models: Mapping[str, Any]
    values: Values
    unset: tuple[str, ...]
    version: str
    engine: EngineFolder | None = None
    tokenizer: Path | None = None
    container: Resolution | None = None
    card: Gpu | None = None
    differences: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    problems: tuple[BuilderError, ...] = ()

    @property
    def parameters(self) -> dict[str, str]:
        """Return what the engine's model is told, without what is not set."""
        told = self.models[ENGINE].parameters if ENGINE in self.models else {}
        found = {name: told[name].string_value for name in told}
        return {name: value for name, value in sorted(found.items()) if not templates.is_unset(value)}
