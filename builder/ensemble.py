"""The words a pipeline file in `ensembles/` is written in: tensors, members, wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tensor:
    """One input or output: `data_type` in Triton's spelling without TYPE_, `dims` without the batch.

    Requests whose `ragged` inputs differ in size still share a batch.
    """

    name: str
    data_type: str
    dims: tuple[int, ...] = (1,)
    optional: bool = False
    ragged: bool = False


@dataclass(frozen=True)
class Batching:
    """Dynamic batching of one member; the delay is how long the first request waits for company."""

    max_queue_delay_microseconds: int
    max_queue_size: int


@dataclass(frozen=True)
class Step:
    """One step of an ensemble: the member it runs, and model tensor -> ensemble tensor maps."""

    member: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """One Triton model of a pipeline.

    `suffix` is appended to the deployment's name ("" is the front). `code` names the folder of
    `backends/` that the model runs; an ensemble has `steps` instead. `on_engine_device` members
    take the planned GPUs, all others run on the CPU. `why` says in one sentence why requests are
    batched by Triton, or why not. `accepted` are warnings of `builder check` that are known and answered,
    as "TRN729: the answer".
    """

    suffix: str
    why: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int
    code: str = ""
    batching: Batching | None = None
    decoupled: bool = False
    on_engine_device: bool = False
    instances: int = 1
    accepted: tuple[str, ...] = ()
    steps: tuple[Step, ...] = field(default=())


@dataclass(frozen=True)
class Pipeline:
    """All members of one kind of deployment, in the order in which they are published."""

    description: str
    members: tuple[Member, ...]

    @property
    def front(self) -> Member:
        """Return the member that carries the deployment's own name."""
        return next(member for member in self.members if not member.suffix)
