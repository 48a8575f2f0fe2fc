"""Which container can do a job: the newest that holds what is needed, or a refusal with a way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builder import house
from builder.errors import UsageError
from builder.planning import versions
from builder.planning.placement import Gpu
from builder.planning.versions import Container, Version

_VERSION = re.compile(r"\d+(\.\d+)*")
TITLES = {
    "onnxruntime": "ONNX Runtime",
    "vllm": "vLLM",
    "tensorrtllm": "TensorRT-LLM",
    "tensorrt": "TensorRT",
}


@dataclass(frozen=True)
class Needs:
    """What a target, or a contract, asks of a container; it declares this, and `resolve` finds one.

    `sort` is the sort of image; `library` what it must hold, a name of versions.Contents, "" for nothing but
    the image; of at `least` a version and `below` another. `tools` are programs that come with it, which
    `builder doctor` looks for. `compute` is the least capability of a GPU, `formats` that by what is computed
    or kept in, such as fp8. `graph` is the library that reads an ONNX graph there. `embedded` says that the
    embedded server does the job too, and is planned for where nobody names a container. `instead` is what
    else could do it, as options of the command line; `only` are the tags that alone may, () for all.
    """

    sort: str = versions.USUAL
    library: str = ""
    least: Version = ()
    below: Version = ()
    tools: tuple[str, ...] = ()
    compute: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    graph: str = ""
    embedded: bool = False
    instead: str = ""
    only: tuple[str, ...] = ()

    @property
    def releases(self) -> tuple[str, ...]:
        """Return the tags of containers that have it, whatever the machine, oldest first."""
        nowhere = Machine()
        return tuple(tag for tag, box in versions.containers().items() if not _obstacle(box, self, nowhere))

    @property
    def title(self) -> str:
        """Return what is looked for, such as "vLLM >= 0.22, < 0.23"."""
        if not self.library:
            return "contents that are known"
        bounds = [(">=", self.least), ("<", self.below)]
        told = ", ".join(f"{sign} {'.'.join(map(str, bound))}" for sign, bound in bounds if bound)
        return f"{TITLES[self.library]} {told}".rstrip()


@dataclass(frozen=True)
class Machine:
    """Where it is to run and what: the GPU, its driver, the formats of weights and cache, the graph's opset.

    None, "" and 0 are not known, and refuse nothing. Raises UsageError for a driver that is no version.
    """

    card: Gpu | None = None
    driver: str = ""
    formats: tuple[str, ...] = ()
    opset: int = 0
    ir: int = 0

    def __post_init__(self) -> None:
        if self.driver and not _VERSION.fullmatch(self.driver):
            raise UsageError(f"--driver {self.driver!r}", expected="a version, such as 570.86.10")


@dataclass(frozen=True)
class Resolution:
    """The container that was chosen, its image, and why no newer one was: (tag, reason), the newest first."""

    container: Container
    image: str
    why: str
    newer: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON would hold it."""
        return {"image": self.image, "why": self.why, "newer": dict(self.newer)}


def resolve(needs: Needs, machine: Machine, asked: str | None, what: str) -> Resolution:
    """Return the newest container that can do the job, or the one that was asked for, if it can.

    Args:
        what: whose needs these are, such as "target vllm".

    Raises:
        UsageError: the GPU is too old for any, no container can, or the one that was asked for cannot.
    """
    _require_card(needs, machine, what)
    verdicts = {tag: _obstacle(box, needs, machine) for tag, box in versions.containers().items()}
    able = [tag for tag, problem in verdicts.items() if not problem]
    if asked is None:
        if not able:
            raise _none_can(needs, machine, what, verdicts)
        box = versions.container(able[-1])
        newer = tuple((tag, problem) for tag, problem in reversed(verdicts.items()) if tag > box.tag)
        return Resolution(box, box.sort(needs.sort), f"the newest that has {needs.title}", newer)
    box = versions.container(asked)
    if verdicts[asked]:
        raise UsageError(
            f"--triton {asked}: {verdicts[asked]}, and {what} needs {needs.title}",
            expected=f"one of {', '.join(able)}" if able else "another machine: no container can",
            remedy=_way_out(needs, machine, able),
        )
    return Resolution(box, box.sort(needs.sort), f"asked for, and it has {needs.title}")


def verdicts(needs: Needs, machine: Machine) -> dict[str, str]:
    """Return for each container, the newest first, why it cannot do the job, "" for one that can."""
    table = versions.containers()
    return {tag: _obstacle(table[tag], needs, machine) for tag in reversed(table)}


def _way_out(needs: Needs, machine: Machine, able: list[str]) -> str:
    ways = [f"`--triton {able[-1]}`"] if able else []
    ways += [f"`{needs.instead}`"] if _helps(needs.instead, machine) else []
    return f"use {', or '.join(ways)}" if ways else ""


def _helps(instead: str, machine: Machine) -> bool:
    """Say whether what else could do the job can do it on this machine, in these formats."""
    if not instead:
        return False
    option, name = instead.split()
    if option not in ("--target", "--to"):
        # another form of the same target's repository
        return True
    for one in machine.formats:
        # others are how weights lie that are quantised already, which says itself who takes them
        if one in house.plugin_names("quantizations"):
            served = house.plugin("quantizations", one, option="--quantize").QUANTIZATION.targets
            if name not in served:
                return False
    other = getattr(house.plugin("targets", name, option="--target"), "NEEDS", None)
    if other is None:
        return True
    try:
        resolve(replace(other, instead=""), machine, None, name)
    except UsageError:
        return False
    return True


def _require_card(needs: Needs, machine: Machine, what: str) -> None:
    """Raise UsageError for a GPU that no container of these could use."""
    if machine.card is None:
        return
    formats = [(name, needs.formats[name]) for name in machine.formats if name in needs.formats]
    for name, least in [("", needs.compute), *formats]:
        if least and versions.number(machine.card.compute) < versions.number(least):
            raise UsageError(
                f"{machine.card.title} has compute capability {machine.card.compute}: "
                f"{what} {f'computes {name}' if name else 'runs'} from {least} on",
                expected=f"a GPU of compute capability {least} or more (`builder list`)",
                remedy=f"use `{needs.instead}`, or name another GPU"
                if _helps(needs.instead, machine)
                else "name another GPU",
            )


def _none_can(needs: Needs, machine: Machine, what: str, verdicts: Mapping[str, str]) -> UsageError:
    if not needs.releases and (known := _known(needs)):
        return UsageError(
            f"no container can run {what}: {known}",
            expected=needs.title,
            remedy=_way_out(needs, machine, []),
        )
    # one that holds the library: what is in its way is the machine
    closest = (needs.releases or list(verdicts))[-1]
    drivers = [row.driver for row in map(versions.cuda, _cudas(needs)) if row is not None]
    least = min(drivers, key=versions.number, default="")
    newer = "update the driver, or serve it where there is a newer one" if machine.driver and least else ""
    return UsageError(
        f"no container can run {what}: {closest}: {verdicts[closest]}",
        expected=needs.title + (f", and a driver from {least} on" if machine.driver and least else ""),
        remedy=_way_out(needs, machine, []) or newer,
    )


def _known(needs: Needs) -> str:
    """Return the first and the last version of a library that any container is known to hold, "" for none."""
    held = {
        tag: getattr(box.images[needs.sort], needs.library)
        for tag, box in versions.containers().items()
        if needs.library and needs.sort in box.images
    }
    told = [f"{version} ({tag}-{needs.sort})" for tag, version in held.items() if version]
    if not told:
        return ""
    return f"of {TITLES[needs.library]} those known here begin at {told[0]} and end at {told[-1]}"


def _cudas(needs: Needs) -> list[str]:
    return [versions.container(tag).contents(needs.sort).cuda for tag in needs.releases]


def _obstacle(box: Container, needs: Needs, machine: Machine) -> str:
    """Return why a container cannot do a job, "" where it can; the first of several reasons."""
    return (
        _lacking(box, needs)
        or _too_old_driver(box, needs, machine)
        or _unknown_card(box, needs, machine)
        or _too_new_graph(box, needs, machine)
    )


def _lacking(box: Container, needs: Needs) -> str:
    if needs.sort in box.absent:
        return f"NVIDIA has not built {box.sort(needs.sort)}"
    if needs.sort not in box.images:
        return f"nothing is known here of {box.sort(needs.sort)}"
    if needs.only and box.tag not in needs.only:
        return f"only {', '.join(needs.only)} can serve it"
    held = getattr(box.images[needs.sort], needs.library) if needs.library else ""
    if needs.library and not versions.is_within(versions.number(held), needs.least, needs.below):
        return f"{box.tag}-{needs.sort} holds {TITLES[needs.library]} {held or 'of no known version'}"
    return ""


def _too_old_driver(box: Container, needs: Needs, machine: Machine) -> str:
    version = box.images[needs.sort].cuda
    asks = versions.cuda(version)
    if not machine.driver or asks is None or versions.number(machine.driver) >= versions.number(asks.driver):
        return ""
    return f"its CUDA {version} needs a driver from {asks.driver} on, and there is {machine.driver}"


def _unknown_card(box: Container, needs: Needs, machine: Machine) -> str:
    version = box.images[needs.sort].cuda
    asks = versions.cuda(version)
    if machine.card is None or asks is None:
        return ""
    least, newest = versions.number(asks.least), versions.number(asks.newest)
    if least <= versions.number(machine.card.compute) <= newest:
        return ""
    return (
        f"its CUDA {version} is for compute capability {asks.least} to {asks.newest}, and "
        f"{machine.card.title} has {machine.card.compute}"
    )


def _too_new_graph(box: Container, needs: Needs, machine: Machine) -> str:
    version = getattr(box.images[needs.sort], needs.graph) if needs.graph else ""
    known = versions.opset(needs.graph, version) if version else None
    if known is None:
        return ""
    opset, ir = known
    if machine.opset > opset:
        return f"the graph has opset {machine.opset}, and its {TITLES[needs.graph]} {version} knows {opset}"
    if ir and machine.ir > ir:
        return f"the graph has IR version {machine.ir}, and its {TITLES[needs.graph]} {version} knows {ir}"
    return ""
