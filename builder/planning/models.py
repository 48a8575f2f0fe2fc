"""The Triton models of a plan: each member of the pipeline under its own name, where it will run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from builder.ensemble import Member, Tensor
from builder.planning.asked import Decision
from builder.planning.placement import Split


@dataclass(frozen=True)
class Instances:
    """Triton's instance group of one model."""

    kind: str
    count: int = 1
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelPlan:
    """One Triton model that will be written: its pipeline member under its own name."""

    name: str
    member: Member
    instances: Instances | None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.member.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self.member.outputs

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON would hold it."""
        return {
            "name": self.name,
            "inputs": [_plain(tensor) for tensor in self.inputs],
            "outputs": [_plain(tensor) for tensor in self.outputs],
            "max_batch_size": self.member.max_batch_size,
            "dynamic_batching": self.member.batching is not None,
            "why": self.member.why,
            "instances": asdict(self.instances) if self.instances else None,
        }


def _plain(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor without what few of them are, where it is not."""
    plain = asdict(tensor)
    rare = ("labelled", "longest_as", "scalar")
    return {name: value for name, value in plain.items() if value or name not in rare}


def is_graph(member: Member) -> bool:
    """Say whether a member is the artifact itself, run by a backend of Triton's."""
    return not member.steps and member.backend != "python"


def fitted(member: Member, kind: str, decided: Decision) -> Member:
    """Return the member with no larger batches than were asked for, the graph with the backend that runs it.

    A model that generates has its own.
    """
    if kind == "generation":
        return member
    backend = decided.engine if is_graph(member) else member.backend
    return replace(member, max_batch_size=min(member.max_batch_size, decided.concurrency), backend=backend)


def placed(name: str, member: Member, device: str, split: Split) -> ModelPlan:
    """Return the member as a model of its own."""
    instances: Instances | None = None
    if not member.steps:
        # One process hosts the engine whatever the number of GPUs; the gpus listed are advice to it.
        on_gpu = member.on_engine_device and device == "gpu"
        instances = (
            Instances("KIND_GPU", 1, (0,))
            if on_gpu and split.gpus == 1
            else Instances("KIND_MODEL" if on_gpu else "KIND_CPU", member.instances)
        )
    return ModelPlan(member.named or name + member.suffix, member, instances)
