"""What runs the model: the pipeline, the target, the container that has it, and what helps it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from builder import contract, house
from builder.architecture import MixtureDimensions
from builder.contract import Contract
from builder.ensemble import Facts, Member, Pipeline
from builder.errors import UsageError
from builder.planning import hosts, resolving, versions
from builder.planning.asked import Decision, Options, Subject
from builder.planning.placement import Gpu, Split
from builder.planning.resolving import Machine, Needs, Resolution
from builder.target import Target


def pipeline(name: str, facts: Facts) -> Pipeline:
    """Return the pipeline of a name, its tensors named by the facts."""
    path = house.folder("ensembles") / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("[!_]*.py"))
        raise UsageError(f"pipeline {name!r} does not exist", expected=f"one of {', '.join(known)}")
    found: Pipeline = house.load_file(path).pipeline(facts)
    return found


def members(
    found: Pipeline, way: Target, promised: Contract, decided: Decision, container: versions.Container
) -> tuple[Member, ...]:
    """Return the Triton models: those of the pipeline and of the target, as the contract shows them.

    Beside an engine that is a model of its own the others need no GPU.
    """
    more = getattr(way, "members", None)
    if more is not None:
        others = (replace(member, on_engine_device=False) for member in found.members)
        found = replace(found, members=(*more(decided, container), *others))
    return promised.members(found)


def target(name: str, subject: Subject) -> Target:
    """Return the target of a name; raise UsageError where it does not serve the model's pipeline."""
    found = cast(Target, house.plugin("targets", name, option="--target"))
    if subject.pipeline not in found.PIPELINES:
        able = [
            other
            for other in house.plugin_names("targets")
            if subject.pipeline in house.plugin("targets", other, option="--target").PIPELINES
        ]
        raise UsageError(
            f"target {name} does not serve {subject.pipeline}, which {subject.name} is for",
            expected=f"--target {' or '.join(able)}",
        )
    return found


def require_experts(subject: Subject, name: str) -> None:
    """Raise UsageError for a mixture of experts on a target that runs none."""
    if not isinstance(subject.dimensions, MixtureDimensions) or name in _having("EXPERTS"):
        return
    raise UsageError(
        f"target {name} runs no mixtures; {subject.name} has {subject.dimensions.experts} experts in a layer",
        expected=f"--target {' or '.join(_having('EXPERTS'))} --gpu GPU",
    )


def require_expert_groups(subject: Subject, target: tuple[str, Target], split: Split) -> None:
    """Raise UsageError for groups of GPUs that share out experts, where there are none, or are told else."""
    if split.experts == 1:
        return
    if not isinstance(subject.dimensions, MixtureDimensions):
        raise UsageError(
            f"--ep {split.experts}: {subject.name}, a {subject.model_type}, has no experts",
            expected="no --ep: it is for mixtures of experts, such as mixtral",
        )
    name, way = target
    if getattr(way, "EXPERT_GROUPS", False):
        return
    own = getattr(way, "EXPERT_SETTING", "")
    able = " or ".join(f"--target {one}" for one in _having("EXPERT_GROUPS"))
    raise UsageError(
        f"--ep {split.experts}: target {name} does not take it",
        expected=f"{able} --gpu GPU",
        remedy=f"leave --ep out and pass '--set={own.format(groups=split.experts)}'" if own else "",
    )


def require_hosts(subject: Subject, target: tuple[str, Target], split: Split) -> None:
    """Raise UsageError or PlanError for several hosts that a target, or these ranks, cannot be shared by."""
    name, way = target
    hosts.require(subject.name, (name, getattr(way, "SPANS_HOSTS", False)), split, _having("SPANS_HOSTS"))


def require_config(subject: Subject, way: Target) -> None:
    """Let a target say what of a model's config it does not run; raises as its `require_config`."""
    require = getattr(way, "require_config", None)
    if require is not None:
        require(subject.config)


def require_tensors(subject: Subject, way: Target) -> None:
    """Let a target say which tensors it does not convert, where their headers are at hand.

    Raises as its `require_tensors`.
    """
    require = getattr(way, "require_tensors", None)
    if require is not None and subject.checkpoint is not None:
        require(subject.checkpoint)


def _having(mark: str) -> list[str]:
    """Return the targets that say of themselves that they can do a thing."""
    known = {name: house.plugin("targets", name, option="--target") for name in house.plugin_names("targets")}
    return [name for name, target in known.items() if getattr(target, mark, False)]


def require_adapters(options: Options, name: str) -> None:
    """Raise UsageError for adapters that the target, or the contract, has no way to serve."""
    if not options.adapters:
        return
    given, able = f"--lora {options.adapters[0]}", _having("ADAPTERS")
    if name not in able:
        raise UsageError(
            f"{given}: target {name} serves no adapters", expected=f"--target {' or '.join(able)} --gpu GPU"
        )
    promised = options.contract or contract.USUAL
    if promised != contract.USUAL and not getattr(contract.load(promised, name), "ADAPTERS", False):
        raise UsageError(
            f"{given}: contract {options.contract} has no adapters", expected=f"--contract {contract.USUAL}"
        )


def machine(subject: Subject, options: Options, card: Gpu | None, formats: tuple[str, ...]) -> Machine:
    """Return what is known of where the model will run; `formats` are what it computes in and keeps."""
    return Machine(card, options.driver or "", formats, subject.opset, subject.ir_version)


def container(
    name: str, way: Target, promised: Contract, asked: str | None, where: Machine
) -> tuple[versions.Container, Resolution | None]:
    """Return the container that is planned for, and how it was found; None where any would do."""
    wanted = needs(way, promised)
    if wanted is None or (wanted.embedded and asked is None):
        return versions.container(asked or versions.DEFAULT_TAG), None
    whose = f"target {name}" if promised.IMAGE == "" else f"the contract of target {name}"
    found = resolving.resolve(wanted, where, asked, whose)
    return found.container, found


def needs(way: Target, promised: Contract) -> Needs | None:
    """Return what a contract asks of a container, else its target; None where neither asks anything."""
    wanted = cast(Needs | None, getattr(promised, "NEEDS", None) or getattr(way, "NEEDS", None))
    if wanted is not None and promised.CONTAINERS:
        return replace(wanted, only=promised.CONTAINERS)
    return wanted


def accelerators(asked: str | None, way: Target, device: str) -> tuple[str, ...]:
    """Return the execution accelerators that were asked for, in their order."""
    names = tuple((asked or "").split(",")) if asked is not None else ()
    if "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"--accelerate {asked!r}", expected="names between commas, each once, such as tensorrt,cuda"
        )
    offered = way.ACCELERATORS.get(device, ())
    unknown = [name for name in names if name not in offered]
    if unknown:
        raise UsageError(
            f"--accelerate {', '.join(unknown)} does not exist for this target on a {device.upper()}",
            expected=f"one of {', '.join(offered)}"
            if offered
            else "none: the target takes no accelerator there",
        )
    return names
