"""Models whose description is their own inputs and outputs: bare graphs, and models of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar

from builder.errors import SourceError
from builder.weights import Weight

HUGGING_FACE_CLASS = PREFIX = ""
"""Nobody on the Hugging Face hub tells such a model by the class of its config."""

BYTES_PER_PARAMETER = 4


class Unsuitable(Exception):
    """A model that cannot be served as a graph, or would not answer as it does now."""

    def __init__(self, found: str, *, expected: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.expected, self.remedy = found, expected, remedy

    def at(self, path: Path) -> SourceError:
        """Return the same as what is wrong with a file."""
        return SourceError(f"{path}: {self.found}", expected=self.expected, remedy=self.remedy)


@dataclass(frozen=True)
class GraphDimensions:
    """What a graph says of its own size, which is little.

    `parameters` is what its file would hold as float32; `activations` counts the numbers of the widest
    input or output of one row, open dimensions as 1. It has no layers and no tokens that anybody knows of.
    """

    parameters: int
    activations: int
    layers: int = 0
    context_length: int = 1
    table_parameters: ClassVar[int] = 0

    def activation_elements(self, tokens: int) -> int:
        """Return the numbers alive for one row as far as they can be told; `tokens` has no meaning."""
        return self.activations


def weights(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Return none: what such a file holds is not told tensor by tensor."""
    return ()


def dimensions(config: Mapping[str, Any]) -> GraphDimensions:
    """Read the dimensions from the config that a source wrote, or that a recipe publishes."""
    missing = [name for name in ("inputs", "outputs", "weight_bytes") if not config.get(name)]
    if missing:
        raise SourceError(
            f"the config of a {config.get('model_type')} model lacks {', '.join(missing)}",
            expected="inputs and outputs, each with name, data_type and dims, and weight_bytes",
            remedy="write them into the recipe's [config]",
        )
    tensors = [*config["inputs"], *config["outputs"]]
    return GraphDimensions(
        parameters=int(config["weight_bytes"]) // BYTES_PER_PARAMETER,
        activations=max(prod(abs(int(size)) for size in tensor["dims"]) for tensor in tensors),
    )


def tensor(name: str, data_type: str, dims: Sequence[int], **more: Any) -> dict[str, Any]:
    """Return an entry of a config's `inputs` or `outputs`; `dims` with -1 for an open one."""
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


def without_batch(
    inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], batches: bool
) -> dict[str, Any]:
    """Return the part of a config that says what the graph takes and gives, its batch dimension taken off.

    What has no dimension left, one number, has the dims [1] in Triton; `exporting/wiring.py` sees to it.
    """
    rows = slice(1 if batches else 0, None)
    return {
        "inputs": [{**one, "dims": one["dims"][rows] or [1]} for one in inputs],
        "outputs": [{**one, "dims": one["dims"][rows] or [1]} for one in outputs],
        "batches": batches,
    }


def require_file(path: Path, what: str) -> None:
    """Raise SourceError where a path is no file."""
    if not path.is_file():
        raise SourceError(
            f"{path} does not exist" if not path.exists() else f"{path} is no file",
            expected=what,
            remedy="check the path given with --checkpoint",
        )
