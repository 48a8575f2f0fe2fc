"""How many GPUs share a model, and what part each of them has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder.architecture import Dimensions, MixtureDimensions
from builder.errors import PlanError, UsageError
from builder.planning import placement
from builder.planning.placement import Split


@dataclass(frozen=True)
class Division:
    """A model over tensor x pipeline ranks; `experts` groups of the tensor ranks share out the experts.

    The ranks are on `hosts`, as many on each.

    The ranks of one such group, tensor / experts of them, hold parts of the same experts.
    """

    tensor: int = 1
    pipeline: int = 1
    experts: int = 1
    hosts: int = 1

    @property
    def ranks(self) -> int:
        return self.tensor * self.pipeline

    @property
    def expert_tensor(self) -> int:
        """Return how many ranks an expert is split over."""
        return self.tensor // self.experts

    def seats(self) -> Iterator[Seat]:
        """Yield every rank's place, in the order of their numbers."""
        for number in range(self.ranks):
            yield Seat(self, number)


@dataclass(frozen=True)
class Seat:
    """One rank's place: rank = stage x tensor + position (tensorrt_llm/mapping.py)."""

    division: Division
    rank: int

    @property
    def stage(self) -> int:
        return self.rank // self.division.tensor

    @property
    def position(self) -> int:
        """Return its place among the tensor ranks of its stage."""
        return self.rank % self.division.tensor

    @property
    def expert_group(self) -> int:
        return self.position % self.division.experts

    @property
    def expert_position(self) -> int:
        """Return its place among the ranks that split an expert."""
        return self.position // self.division.experts

    @property
    def is_last(self) -> bool:
        return self.stage == self.division.pipeline - 1

    def layers(self, dimensions: Dimensions) -> range:
        """Return the numbers of the layers of its stage, by the whole model's count."""
        each = dimensions.layers // self.division.pipeline
        return range(self.stage * each, (self.stage + 1) * each)


def require_divisible(dimensions: Dimensions, division: Division) -> None:
    """Refuse with the numbers what cannot be shared so.

    TensorRT-LLM itself would drop the layers that are left over (mapping.py, pp_layers).

    Raises:
        UsageError: a number below 1, or expert ranks of a model without experts.
        PlanError: heads, layers, widths or experts that the ranks do not divide.
    """
    tensor, pipeline, experts = division.tensor, division.pipeline, division.experts
    if min(tensor, pipeline, experts) < 1:
        raise UsageError(f"--tp {tensor} --pp {pipeline} --ep {experts}", expected="all at least 1")
    mixture = dimensions if isinstance(dimensions, MixtureDimensions) else None
    if experts > 1 and mixture is None:
        raise UsageError(f"--ep {experts}: the model has no experts", expected="no --ep")
    found = placement.obstacle(dimensions, Split(tensor, pipeline, experts))
    found = found or (_of_experts(mixture, division) if mixture else _of_width(dimensions, tensor))
    if found:
        raise PlanError(found, expected="the same share for every rank", remedy="use a number that divides")


def _of_width(dimensions: Dimensions, tensor: int) -> str | None:
    width = dimensions.intermediate_size
    return f"--tp {tensor} does not divide the intermediate size of {width}" if width % tensor else None


def _of_experts(mixture: MixtureDimensions, division: Division) -> str | None:
    tensor, experts, width = division.tensor, division.experts, mixture.intermediate_size
    if width % division.expert_tensor:
        return (
            f"--tp {tensor} --ep {experts} splits each expert over {division.expert_tensor} ranks, "
            f"which do not divide its intermediate size of {width}"
        )
    return None
