"""Plan: everything that a build would write, decided from names and shapes alone.

Reads no weights, loads no torch, needs no GPU and no server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from builder import house
from builder.architecture import Dimensions
from builder.ensemble import Member, Pipeline, Tensor
from builder.errors import PlanError, UsageError
from builder.planning import memory, placement, profile, versions
from builder.planning.memory import Memory
from builder.planning.placement import Gpu, Split
from builder.quantization import Quantization, Support

CPU_CONCURRENCY = 16
CPU_QUANTIZATION = "int4"
SPANNING_TARGET = "vllm"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Options:
    """What the command line asked for; None leaves the choice to the plan."""

    target: str | None = None
    quantize: str | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu: str | None = None
    max_context: int | None = None
    concurrency: int | None = None
    triton: str = versions.DEFAULT_TAG
    profiles: tuple[str, ...] = ()
    """ENGINE=FILE, measurements that replace the shipped ones of these engines."""


@dataclass(frozen=True)
class Subject:
    """The model to plan for: what a recipe or a checkpoint says, whichever is at hand."""

    name: str
    origin: str
    model_type: str
    dimensions: Dimensions
    target: str
    precision: str
    weights_at_hand: bool
    quantize: str | None = None
    """What its recipe wants on a CPU; None leaves it to the plan."""


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


@dataclass(frozen=True)
class Plan:
    """What a build would do; printing it and building it are the same value."""

    name: str
    origin: str
    model_type: str
    weights_at_hand: bool
    dimensions: Dimensions
    target: str
    quantize: str
    device: str
    gpu: Gpu | None
    split: Split
    memory: Memory
    concurrency: int
    container: versions.Container
    engine: str
    engine_why: str
    engine_arguments: Mapping[str, Any]
    converter_arguments: tuple[str, ...]
    pipeline: str
    models: tuple[ModelPlan, ...]

    @property
    def front(self) -> ModelPlan:
        return next(model for model in self.models if not model.member.suffix)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON would hold it, deterministic."""
        plain = asdict(self)
        plain["models"] = [
            {
                "name": model.name,
                "inputs": [asdict(tensor) for tensor in model.inputs],
                "outputs": [asdict(tensor) for tensor in model.outputs],
                "max_batch_size": model.member.max_batch_size,
                "dynamic_batching": model.member.batching is not None,
                "why": model.member.why,
                "instances": asdict(model.instances) if model.instances else None,
            }
            for model in self.models
        ]
        return plain


def plan(subject: Subject, options: Options) -> Plan:
    """Decide target, precision, placement and models; refuse with numbers what cannot work.

    Raises:
        UsageError: an option names something that does not exist or does not combine.
        PlanError: the model cannot be divided or does not fit as asked.
    """
    if not _NAME.fullmatch(subject.name):
        raise UsageError(
            f"{subject.name!r} cannot name a model",
            expected="a name that is a folder on any disk: letters, digits, '_', '-' and '.'",
            remedy="choose another with --name",
        )
    split = Split(options.tensor_parallel, options.pipeline_parallel)
    card = placement.gpu(options.gpu) if options.gpu else None
    if min(split.tensor, split.pipeline) < 1:
        raise UsageError(f"--tp {split.tensor} --pp {split.pipeline}", expected="both at least 1")
    device = "gpu" if card else "cpu"
    name = options.target or (SPANNING_TARGET if split.gpus > 1 else subject.target)
    target = house.plugin("targets", name, option="--target")
    quantize = options.quantize or _precision(subject, card)
    quantization: Quantization = house.plugin("quantizations", quantize, option="--quantize").QUANTIZATION
    support = _support(quantize, quantization, name, device)
    if card and quantize == "bf16" and not card.bfloat16:
        raise UsageError(f"{card.title} has no bfloat16", remedy="use --quantize fp16")
    context = _context(subject.dimensions, options.max_context)
    if options.concurrency is not None and options.concurrency < 1:
        raise UsageError(f"--concurrency {options.concurrency}", expected="at least 1")
    filled = _place(subject, quantization, split, card, context, options, target.SPANS_GPUS, name)
    concurrency = options.concurrency or (max(1, min(filled.sequences, 256)) if card else CPU_CONCURRENCY)
    engine = profile.choose(target.ENGINES[device], concurrency, _measured(options))
    pipeline: Pipeline = house.load_file(house.folder("ensembles") / f"{target.PIPELINE}.py").PIPELINE
    return Plan(
        name=subject.name,
        origin=subject.origin,
        model_type=subject.model_type,
        weights_at_hand=subject.weights_at_hand,
        dimensions=subject.dimensions,
        target=name,
        quantize=quantize,
        device=device,
        gpu=card,
        split=split,
        memory=filled,
        concurrency=concurrency,
        container=versions.container(options.triton),
        engine=engine.engine,
        engine_why=engine.why,
        engine_arguments=target.engine_arguments(device, subject.dimensions),
        converter_arguments=support.arguments,
        pipeline=target.PIPELINE,
        models=tuple(_model(subject.name, member, device, split) for member in pipeline.members),
    )


def _measured(options: Options) -> list[profile.Row]:
    """Return the user's own rows, and the shipped ones of engines that they did not measure."""
    own = [row for option in options.profiles for row in profile.read(option)]
    replaced = {row.engine for row in own}
    return [*own, *(row for row in profile.shipped() if row.engine not in replaced)]


def _precision(subject: Subject, card: Gpu | None) -> str:
    if card is None:
        return subject.quantize or CPU_QUANTIZATION
    # no target offers float32 on a GPU
    half = "bf16" if card.bfloat16 else "fp16"
    return half if subject.precision in ("fp32", "bf16") else subject.precision


def _support(quantize: str, quantization: Quantization, target: str, device: str) -> Support:
    support = quantization.targets.get(target)
    if support and device in support.devices:
        return support
    offered = [
        other
        for other in house.plugin_names("quantizations")
        if device in _devices(house.plugin("quantizations", other, option="--quantize").QUANTIZATION, target)
    ]
    reason = f": {support.refused[device]}" if support and device in support.refused else ""
    remedy = f"choose one of {', '.join(offered)}" if offered else "choose another target (`builder list`)"
    if not offered and device == "cpu":
        remedy = "name a GPU with --gpu, or choose another target (`builder list`)"
    raise UsageError(
        f"target {target} does not serve --quantize {quantize} on a {device.upper()}{reason}", remedy=remedy
    )


def _devices(quantization: Quantization, target: str) -> frozenset[str]:
    support = quantization.targets.get(target)
    return support.devices if support else frozenset()


def _context(dimensions: Dimensions, asked: int | None) -> int:
    if asked is None:
        return dimensions.context_length
    if not 1 <= asked <= dimensions.context_length:
        raise UsageError(
            f"--max-context {asked}",
            expected=f"1 to {dimensions.context_length} tokens, what the model was trained for",
        )
    return asked


def _place(
    subject: Subject,
    quantization: Quantization,
    split: Split,
    card: Gpu | None,
    context: int,
    options: Options,
    spans: bool,
    target: str,
) -> Memory:
    dimensions = subject.dimensions
    if card is None:
        if split.gpus > 1:
            raise UsageError(
                f"--tp {split.tensor} --pp {split.pipeline} without --gpu", remedy="name the GPU with --gpu"
            )
        weights = memory.weight_bytes(dimensions, quantization)
        per_token = memory.cache_bytes_per_token(dimensions, quantization.cache_bytes)
        return memory.on_cpu(weights, per_token, context, options.concurrency or CPU_CONCURRENCY)
    # without --target, --tp 2 chooses one that spans GPUs
    free = options.target is None and SPANNING_TARGET in quantization.targets
    most = placement.MOST_GPUS if spans or free else 1
    wanted = options.concurrency or 1
    choices = placement.alternatives(dimensions, quantization, split, card, context, wanted, most)
    remedy = "use " + ", or ".join(f"`{choice}`" for choice in choices) if choices else _no_choice(subject)
    obstacle = placement.obstacle(dimensions, split)
    if obstacle:
        raise PlanError(f"{subject.name}: {obstacle}", remedy=remedy)
    if split.gpus > most:
        raise PlanError(
            f"{subject.name}: target {target} runs on {most} GPU{'s' * (most > 1)} of one host, "
            f"--tp {split.tensor} --pp {split.pipeline} asks for {split.gpus}",
            remedy=remedy,
        )
    filled = placement.fill(dimensions, quantization, split, card, context, options.concurrency)
    if filled.sequences < wanted:
        raise PlanError(_shortage(subject, split, card, filled, wanted), remedy=remedy)
    return filled


def _no_choice(subject: Subject) -> str:
    return (
        f"no GPU in the table holds {subject.name} so; "
        "try --quantize with fewer bits or a shorter --max-context"
    )


def _shortage(subject: Subject, split: Split, card: Gpu, filled: Memory, wanted: int) -> str:
    gib = memory.GIB
    need = filled.weights + filled.runtime + wanted * filled.context * filled.cache_per_token
    return (
        f"{subject.name} does not fit {split.gpus} x {card.title}: each has "
        f"{card.memory / gib:.1f} GiB, of which {float(memory.USABLE):.0%} may be used; weights take "
        f"{filled.weights / gib:.1f} GiB, the runtime {filled.runtime / gib:.1f} GiB, and {wanted} x "
        f"{filled.context} tokens of KV cache "
        f"{wanted * filled.context * filled.cache_per_token / gib:.1f} GiB: {need / gib:.1f} GiB in all"
    )


def _model(name: str, member: Member, device: str, split: Split) -> ModelPlan:
    instances: Instances | None = None
    if not member.steps:
        # One process hosts the engine whatever the number of GPUs; the gpus listed are advice to it.
        on_gpu = member.on_engine_device and device == "gpu"
        instances = (
            Instances("KIND_GPU", 1, (0,))
            if on_gpu and split.gpus == 1
            else Instances("KIND_MODEL" if on_gpu else "KIND_CPU", member.instances)
        )
    return ModelPlan(name + member.suffix, member, instances)
