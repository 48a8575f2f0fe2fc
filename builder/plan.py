"""Plan: everything that a build would write, decided from names and shapes alone.

Reads no weights, loads no torch, needs no GPU and no server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from builder import contract, house
from builder.adapter import Adapter
from builder.ensemble import Facts
from builder.errors import UsageError
from builder.planning import (
    hosts,
    judging,
    mixing,
    placement,
    precision,
    profile,
    speculating,
    versions,
    ways,
)
from builder.planning.asked import Decision, Kind, Options, Question, Sizes, Subject
from builder.planning.memory import Memory
from builder.planning.mixture import Mixture
from builder.planning.models import ModelPlan, fitted, is_graph, placed
from builder.planning.placement import Gpu, Split
from builder.planning.resolving import Resolution
from builder.quantization import Limits
from builder.speculation import Speculation
from builder.target import Compilation, Target
from builder.weight_format import Stored

__all__ = ["Options", "Plan", "Subject", "plan", "require_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Plan:
    """What a build would do; printing it and building it are the same value.

    `kind`, `samples` and `main` are the pipeline's; `facts` are what its tensors were named
    by; `accelerators` are what ONNX Runtime hands parts of the graph to, the first before the others.
    `compilation` makes an engine of the graph, None where it is served as it is. `stored` is what the
    checkpoint says of weights that are quantised already, None for plain ones; `cache_type` what the KV cache
    is kept in, "" for what is computed in; `contract` the file of `contracts/` that says what clients see;
    `speculation` what is guessed ahead, None for nothing; `adapters` are what requests may name;
    `resolution` is how the container was found, None where any would do; `calibration` the user's own texts
    that scales are measured with, "" for the shipped ones, or where none are, `calibration_samples` and
    `calibration_length` how many and how long, 0 for what is usual, and `workload` what will be
    asked, which they are compared with, "" for nothing; `evaluation` the user's own texts that what was
    lost is measured on, "" for the shipped ones, and `limits` what may be; `hosts` are the names of several,
    () where untold; `mixture` is which part of the weights has which type, None where `quantize` says it;
    `settings` is what --set put in the place of what was planned.
    """

    name: str
    origin: str
    model_type: str
    weights_at_hand: bool
    dimensions: Sizes
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
    kind: str
    samples: str
    main: str
    truncates: bool
    accelerators: tuple[str, ...]
    facts: Facts
    models: tuple[ModelPlan, ...]
    compilation: Compilation | None = None
    stored: Stored | None = None
    cache_type: str = ""
    contract: str = contract.USUAL
    speculation: Speculation | None = None
    adapters: tuple[Adapter, ...] = ()
    resolution: Resolution | None = None
    calibration: str = ""
    calibration_samples: int = 0
    calibration_length: int = 0
    workload: str = ""
    evaluation: str = ""
    limits: Limits | None = None
    hosts: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    mixture: Mixture | None = None

    @property
    def front(self) -> ModelPlan:
        return next(model for model in self.models if not model.member.suffix)

    @property
    def graph(self) -> ModelPlan:
        """The model that is the artifact itself; of one that generates there is none, and StopIteration."""
        return next(model for model in self.models if is_graph(model.member))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON would hold it, deterministic."""
        plain = asdict(self)
        plain["adapters"] = [one.to_json() for one in self.adapters]
        plain["container"] = self.container.to_json()
        del plain["resolution"]
        if self.resolution is not None:
            plain["resolution"] = self.resolution.to_json()
        # the manifest has the digests of their texts, and names no machine
        del plain["calibration"], plain["workload"], plain["evaluation"], plain["hosts"]
        del plain["calibration_samples"], plain["calibration_length"]
        # they judge what is built, and are no part of it
        del plain["limits"]
        # they are in the engine's arguments
        del plain["settings"]
        for name in ("compilation", "stored", "cache_type", "speculation", "adapters", "mixture"):
            if not plain[name]:
                del plain[name]
        # it is in the weights
        del plain["memory"]["table"]
        if not self.adapters:
            del plain["memory"]["adapters"]
        if self.contract == contract.USUAL:
            del plain["contract"]
        if self.facts.strings:
            del plain["facts"]["strings"]
        if self.split.experts == 1:
            del plain["split"]["experts"]
        if self.split.hosts == 1:
            del plain["split"]["hosts"]
            plain.get("compilation", {}).pop("hosts", None)
        if self.kind == "generation":
            # they mean nothing to a model that generates
            for name in ("kind", "facts", "truncates", "accelerators", "samples", "main"):
                del plain[name]
            del plain["memory"]["activations"]
        plain["models"] = [model.to_json() for model in self.models]
        return plain


def require_name(name: str) -> None:
    """Raise UsageError for a name that no model can have."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a model",
            expected="a name that is a folder on any disk: letters, digits, '_', '-' and '.'",
            remedy="choose another with --name",
        )


def plan(subject: Subject, options: Options) -> Plan:
    """Decide target, precision, placement and models; refuse with numbers what cannot work.

    Raises:
        UsageError: an option names something that does not exist or does not combine.
        PlanError: the model cannot be divided or does not fit as asked.
        SourceError: tensors of the checkpoint that the target does not convert.
    """
    require_name(subject.name)
    count, names = hosts.read(options.hosts)
    split = Split(options.tensor_parallel, options.pipeline_parallel, options.expert_parallel, count)
    card = placement.gpu(options.gpu) if options.gpu else None
    if min(split.tensor, split.pipeline) < 1:
        raise UsageError(f"--tp {split.tensor} --pp {split.pipeline}", expected="both at least 1")
    if split.experts < 1:
        raise UsageError(f"--ep {split.experts}", expected="at least 1")
    device = "gpu" if card else "cpu"
    pipeline = ways.pipeline(subject.pipeline, subject.facts)
    kind = cast(Kind, house.plugin("planning", pipeline.kind, option="kind"))
    wanted = kind.precision(subject, card)
    asked = mixing.asked(subject, options, pipeline.kind, card)
    name = options.target or kind.usual_target(subject, asked or wanted, card, split)
    target = ways.target(name, subject)
    ways.require_experts(subject, name)
    ways.require_expert_groups(subject, (name, target), split)
    ways.require_hosts(subject, (name, target), split)
    ways.require_config(subject, target)
    ways.require_adapters(options, name)
    promised = contract.load(options.contract or contract.USUAL, name)
    chosen = precision.choose(
        subject,
        asked,
        options.cache_type,
        wanted,
        (name, target),
        card,
        pipeline.precisions,
    )
    precision.require_divisible(subject, split)
    if card and chosen.computed_in == "bf16" and not card.bfloat16:
        raise UsageError(f"{card.title} has no bfloat16", remedy="use --quantize fp16")
    precision.require_calibrated("--calibration", options.calibration, chosen)
    precision.require_samples(options, chosen)
    precision.require_groups(subject, chosen)
    precision.require_calibrated("--workload", options.workload, chosen)
    speculation = speculating.decide(subject, options, (name, target), card, split)
    profile.require_choice(options.profiles, target.ENGINES[device])
    decided = kind.decide(
        Question(
            subject=subject,
            options=options,
            target=name,
            way=target,
            contract=promised,
            precision=chosen.name,
            quantization=chosen.quantization,
            card=card,
            split=split,
            computed_in=chosen.computed_in,
            cache_type=chosen.cache_type,
            speculation=speculation,
            beside=speculating.beside(speculation, chosen),
        )
    )
    ways.require_tensors(subject, target)
    where = ways.machine(subject, options, card, (chosen.name, chosen.cache_type))
    container, resolution = ways.container(name, target, promised, options.triton, where)
    facts = replace(subject.facts, strings=target.STRINGS)
    pipeline = ways.pipeline(subject.pipeline, facts)
    models = tuple(
        placed(subject.name, fitted(member, pipeline.kind, decided), device, split)
        for member in ways.members(pipeline, target, promised, decided, container)
    )
    return Plan(
        name=subject.name,
        origin=subject.origin,
        model_type=subject.model_type,
        weights_at_hand=subject.weights_at_hand,
        dimensions=subject.dimensions,
        target=name,
        quantize=chosen.name,
        device=device,
        gpu=card,
        split=split,
        memory=decided.memory,
        concurrency=decided.concurrency,
        container=container,
        engine=decided.engine,
        engine_why=decided.engine_why,
        engine_arguments=decided.engine_arguments,
        converter_arguments=chosen.arguments,
        pipeline=subject.pipeline,
        kind=pipeline.kind,
        samples=pipeline.samples,
        main=pipeline.main,
        truncates=subject.truncates,
        accelerators=ways.accelerators(options.accelerate, target, device),
        facts=facts,
        models=models,
        compilation=_compilation(models, target, decided, chosen.name, card, container),
        stored=subject.stored,
        cache_type=chosen.cache_type,
        contract=options.contract or contract.USUAL,
        speculation=speculation,
        adapters=decided.adapters,
        resolution=resolution,
        calibration=_absolute(options.calibration),
        calibration_samples=options.calibration_samples or 0,
        calibration_length=options.calibration_length or 0,
        workload=_absolute(options.workload),
        evaluation=_absolute(options.evaluation),
        limits=judging.limits(pipeline.kind, subject, chosen, options),
        hosts=names,
        settings=options.settings,
        mixture=decided.mixture,
    )


def _absolute(path: str | None) -> str:
    return str(Path(path).absolute()) if path else ""


def _compilation(
    models: tuple[ModelPlan, ...],
    target: Target,
    decided: Decision,
    quantize: str,
    card: Gpu | None,
    container: versions.Container,
) -> Compilation | None:
    if card is None or not hasattr(target, "compilation"):
        return None
    graph = next(model.member for model in models if is_graph(model.member))
    return cast(Compilation, target.compilation(graph, decided, quantize, card, container))
