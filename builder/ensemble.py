"""The words a pipeline file in `ensembles/` is written in: tensors, members, wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOME = "{home}"
"""Stands in a parameter for the path of the model's version folder where the server is."""


@dataclass(frozen=True)
class Tensor:
    """One input or output: `data_type` in Triton's spelling without TYPE_, `dims` without the batch.

    Requests whose `ragged` inputs differ in size still share a batch. A `labelled` output has a name for
    each of its elements, which Triton's classification extension answers with. With an input that is
    counted, `longest_as`, the graph gets one more of that name: it has as many elements as the request of
    the batch that has the most. A `scalar` reaches the backend without its dimension of one.
    """

    name: str
    data_type: str
    dims: tuple[int, ...] = (1,)
    optional: bool = False
    ragged: bool = False
    labelled: bool = False
    longest_as: str = ""
    scalar: bool = False


@dataclass(frozen=True)
class Batching:
    """Dynamic batching of one member; the delay is how long the first request waits for company.

    A batch of a `preferred` size waits for none.
    """

    max_queue_delay_microseconds: int
    max_queue_size: int
    preferred: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of an ensemble: the suffix of the member it runs, and model tensor -> ensemble tensor maps."""

    member: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """One Triton model of a pipeline.

    `suffix` is appended to the deployment's name ("" is the front). `code` names the folder of
    `backends/` that the model runs; an ensemble has `steps` instead, and the artifact itself the `backend`
    that runs it. `on_engine_device` members take the planned GPUs, all others run on
    the CPU. `settings` names what of the artifact's settings a Python model is told, all of it where empty;
    `tokenizes` whether it gets the tokenizer. `why` says in one sentence why requests are batched by Triton,
    or why not. `accepted` are warnings of `builder check` that are known and answered, as
    "TRN729: the answer". `parameters` are what its backend is told in config.pbtxt; `named` is the name
    it has whatever the deployment is called.
    """

    suffix: str
    why: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int
    code: str = ""
    backend: str = "python"
    settings: tuple[str, ...] = ()
    tokenizes: bool = False
    batching: Batching | None = None
    decoupled: bool = False
    on_engine_device: bool = False
    instances: int = 1
    accepted: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    named: str = ""
    steps: tuple[Step, ...] = field(default=())


@dataclass(frozen=True)
class Facts:
    """What a pipeline must know of a model to name its tensors.

    `width` is the size of its vector, `labels` what its scores are of, `image` (channels, height, width);
    `inputs` and `outputs` are those of a graph that says them itself, `batches` whether all of them begin
    with a dimension for the rows of a batch. Without `strings` the graph gives numbers alone.
    """

    width: int = 0
    labels: tuple[str, ...] = ()
    image: tuple[int, int, int] = (0, 0, 0)
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    batches: bool = True
    strings: bool = True


@dataclass(frozen=True)
class Pipeline:
    """All members of one sort of deployment, in the order in which they are published.

    `kind` names the file of `planning/` and of `proving/` that it follows, and the checks of `verifications/`
    that its front is asked: "generation", or "single_pass" for models that answer in one pass over their
    input. `samples` names the file of `proving/samples/` that a single pass is proven by, `main` its first
    output; `precisions` are the quantizations that it can be built in, () for all of its target.
    """

    description: str
    members: tuple[Member, ...]
    kind: str = "single_pass"
    samples: str = ""
    main: str = ""
    precisions: tuple[str, ...] = ()

    @property
    def front(self) -> Member:
        """Return the member that carries the deployment's own name."""
        return next(member for member in self.members if not member.suffix)

    @property
    def tokenizes(self) -> bool:
        """Return whether one of its models needs a tokenizer."""
        return any(member.tokenizes for member in self.members)
