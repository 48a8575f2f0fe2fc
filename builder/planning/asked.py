"""What a plan is asked for: a model, the options of the command line, and what was decided of them so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from builder.adapter import Adapter
from builder.contract import Contract
from builder.ensemble import Facts
from builder.planning.memory import Memory
from builder.planning.mixture import Mixture
from builder.planning.placement import Gpu, Model, Split
from builder.quantization import Limits, Quantization
from builder.source import Checkpoint
from builder.speculation import Draft, Speculation
from builder.target import Target
from builder.weight_format import Stored


@dataclass(frozen=True)
class Options:
    """What the command line asked for; None leaves the choice to the plan."""

    target: str | None = None
    quantize: str | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: int = 1
    """Groups of the tensor-parallel GPUs that share out the experts of a mixture."""
    gpu: str | None = None
    hosts: str | None = None
    """How many hosts have these GPUs, or their names between commas."""
    max_context: int | None = None
    concurrency: int | None = None
    triton: str | None = None
    driver: str | None = None
    """The NVIDIA driver of the machine that is to serve it."""
    profiles: tuple[str, ...] = ()
    """ENGINE=FILE, measurements that replace the shipped ones of these engines."""
    accelerate: str | None = None
    contract: str | None = None
    settings: tuple[str, ...] = ()
    """engine.NAME=VALUE, what the engine is told instead of what was planned."""
    cache_type: str | None = None
    """What the KV cache is kept in."""
    speculate: int | None = None
    """How many tokens are guessed in each step."""
    ngram: str | None = None
    """MIN-MAX, how long the passages are by which they are guessed."""
    draft: str | None = None
    """The checkpoint of the model that guesses them."""
    adapters: tuple[str, ...] = ()
    """NAME=FOLDER, LoRA adapters that requests may name."""
    calibration: str | None = None
    """The file of texts that scales are measured with."""
    calibration_samples: int | None = None
    """How many of them, from the first on."""
    calibration_length: int | None = None
    """How many tokens of each."""
    workload: str | None = None
    """The file of texts like those that will be asked, which the former are compared with."""
    evaluation: str | None = None
    """The file of texts that what was lost is measured on."""
    max_perplexity_ratio: float | None = None
    """How many times the source's the perplexity may be on them."""
    max_divergence: float | None = None
    """The mean KL divergence that there may be on them, in nats."""
    min_agreement: float | None = None
    """The share of their tokens at which both must think the same one likeliest."""
    fit: int | None = None
    """Bytes that it may take when it is served: each part gets a type of its own."""
    sensitivities: str | None = None
    """The file of what each part loses, which a build writes where it is not there yet."""


class Sizes(Protocol):
    """What every model's dimensions say: how many weights it has, and how many tokens a text may have."""

    @property
    def parameters(self) -> int: ...

    @property
    def context_length(self) -> int: ...


@dataclass(frozen=True)
class Subject:
    """The model to plan for: what a recipe or a checkpoint says, whichever is at hand.

    `quantize` is what its recipe wants on a CPU, None leaves it to the plan. `max_tokens` is how long a
    text it was made for, None where only its dimensions say; longer ones are cut where it `truncates`.
    `stored` is what it says of weights that are quantised already, `draft` the model that guesses ahead.
    `opset` and `ir_version` are those of a graph that is served as it was given, 0 where it is exported here.
    `revision` is the branch, tag or commit to read its origin at, None for the newest. `config` is Hugging
    Face's, as far as it is known, for what a target has to say of it; `checkpoint` is what all that was read
    from, with its tensors' headers, None where only published numbers are at hand. `limits` are its recipe's
    own, by precision.
    """

    name: str
    origin: str
    model_type: str
    dimensions: Sizes
    target: str
    precision: str
    weights_at_hand: bool
    quantize: str | None = None
    pipeline: str = "text_generation"
    facts: Facts = field(default_factory=Facts)
    max_tokens: int | None = None
    truncates: bool = False
    stored: Stored | None = None
    draft: Draft | None = None
    opset: int = 0
    ir_version: int = 0
    revision: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    checkpoint: Checkpoint | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Question:
    """What is left to decide once target, precision and devices are chosen; `card` is None on a CPU.

    `precision` is the value of --quantize, `computed_in` the data type of activations: the same but for
    weights that are quantised already. `cache_type` is what the KV cache is kept in, "" for `computed_in`.
    `beside` is the draft of `speculation`, as large as it will be.
    """

    subject: Subject
    options: Options
    target: str
    way: Target
    contract: Contract
    precision: str
    quantization: Quantization
    card: Gpu | None
    split: Split
    computed_in: str = ""
    cache_type: str = ""
    speculation: Speculation | None = None
    beside: Model | None = None

    @property
    def device(self) -> str:
        return "gpu" if self.card else "cpu"


@dataclass(frozen=True)
class Decision:
    """The rest of a plan: memory, how many requests at once, and what runs them, where, told what.

    `mixture` is which part of the weights has which type, None where one precision says it of all.
    """

    memory: Memory
    concurrency: int
    engine: str
    engine_why: str
    engine_arguments: Mapping[str, Any]
    adapters: tuple[Adapter, ...] = ()
    split: Split = field(default_factory=Split)
    mixture: Mixture | None = None


class Kind(Protocol):
    """What the files of `planning/` that are named by a pipeline's kind offer."""

    def precision(self, subject: Subject, card: Gpu | None) -> str:
        """Return the quantization where nobody asked for one."""
        ...

    def usual_target(self, subject: Subject, quantize: str, card: Gpu | None, split: Split) -> str:
        """Return the target where nobody asked for one."""
        ...

    def decide(self, question: Question) -> Decision:
        """Decide the rest; raise PlanError with numbers where it does not fit."""
        ...
