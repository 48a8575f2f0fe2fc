"""The noun above one model: several models, their GPUs, one server; compose and Kubernetes render from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import layout
from builder.check import Choice, check_layout
from builder.deploying import choices, engine_gpus, images, launching, packages, unbuilt
from builder.deploying.launching import Ranks
from builder.deploying.pinned import Pinned, pinned
from builder.deploying.unbuilt import Unbuilt
from builder.errors import RepositoryError
from builder.exporting import fused_attention
from builder.planning.versions import Container
from builder.probes import Probe, probes
from builder.rule import Host
from builder.rules.tensorrt_llm_promises import OTHER

PORTS: Mapping[str, int] = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""Triton's own ports, inside a container."""

ENVIRONMENT: Mapping[str, str] = {"PYTHONDONTWRITEBYTECODE": "1", **fused_attention.ENVIRONMENT}
"""The repository is mounted read-only, and attention on a GPU plans nothing."""

_SENT = "*/adapters/*/model.lora_weights.npy"
"""Adapters that an engine gets from its front, by a front's folder (builder/inflight_batcher)."""

SHARED_MEMORY_PER_PROCESS = 256 << 20
"""Triton passes tensors to a Python model through shared memory that grows with the largest requests
and never shrinks; it is a limit, not a reservation."""


_ENGINES = Choice(("TRN641", "TRN642", "TRN643", "TRN644", OTHER))
"""What keeps TensorRT-LLM from loading an engine, or from serving what is promised."""


@dataclass(frozen=True)
class Options:
    """What a user may say of a deployment; None leaves it to the models, of `lock` it is for no lock."""

    triton: str | None = None
    gpus: str | None = None
    bind: str = "127.0.0.1"
    http_port: int = PORTS["http"]
    grpc_port: int = PORTS["grpc"]
    metrics_port: int = PORTS["metrics"]
    memory: str | None = None
    packages: tuple[str, ...] = ()
    lock: Path | None = None
    openai_port: int = 8080


@dataclass(frozen=True)
class Deployment:
    """A repository in one container.

    `gpus` is "all", a number or "" for none. `shared_memory`, `planned_memory` (weights and caches
    on the CPU) and `memory`, the limit if there is one, are bytes. `published` are the ports
    outside, in the order of PORTS; `ranks` are the parts of an engine that spans GPUs, `pinned` is
    what a lock says of the image, `unbuilt` are the engines that are not there yet. `adapters` are the bytes
    of those that fronts send to engines. `openai_port` is the gateway's, outside.
    """

    repository: Path
    container: Container
    image: str
    models: tuple[str, ...]
    fronts: tuple[Probe, ...]
    engines: tuple[str, ...]
    packages: tuple[str, ...]
    python_processes: int
    gpus: str
    address: str
    published: tuple[int, ...]
    planned_memory: int
    memory: int | None
    ranks: Ranks = field(default_factory=Ranks)
    pinned: Pinned = field(default_factory=Pinned)
    unbuilt: tuple[Unbuilt, ...] = ()
    adapters: int = 0
    openai_port: int = 8080

    @property
    def base(self) -> str:
        """Return the image, exactly that of the lock where it is locked."""
        return self.pinned.exactly(self.image)

    @property
    def command(self) -> list[str]:
        """Return what starts the server inside the container: one process, or one for each rank."""
        return launching.command(
            launching.tritonserver(exit_timeout=launching.EXIT_TIMEOUT, exit_on_error=True), self.ranks
        )

    @property
    def shared_memory(self) -> int:
        """Return the size of /dev/shm: every Python process's share, one for each Triton, and adapters."""
        return SHARED_MEMORY_PER_PROCESS * (self.ranks.count + self.python_processes) + self.adapters

    @property
    def on_loopback(self) -> bool:
        """Return whether only this machine can reach the ports."""
        return self.address.startswith("127.") or self.address == "[::1]"


def deployment(repository: Path, options: Options) -> Deployment:
    """Read a repository and decide its deployment; nothing is written, no model's code is run.

    Raises:
        UsageError: an option cannot be, or does not fit the models.
        RepositoryError: the folder is no repository that Triton could serve.
    """
    address = choices.address(options.bind)
    published = {"http": options.http_port, "grpc": options.grpc_port, "metrics": options.metrics_port}
    choices.require_different({**published, "openai": options.openai_port})
    models = _read(repository)
    facts = [_facts(model) for model in models.models.values()]
    imported = packages.imports(models)
    image = images.of_contracts(models, facts) or images.image(models, imported)
    locked = pinned(options.lock, facts, options.triton)
    asked = (locked.triton or None) if options.triton is None else options.triton
    container = choices.container(choices.release(asked, facts, image.releases[-1]))
    images.require_release(image, container.tag)
    to_build = unbuilt.unbuilt(models)
    _require_engines(models, container.tag, {one.folder.parent for one in to_build})
    needed = max((_gpus(model, models) for model in models.models.values()), default=0)
    processes = sum(model.processes for model in models.models.values())
    on_cpu = [fact["memory"] for fact in facts if fact.get("device") == "cpu" and "memory" in fact]
    weights = sum(size["weights"] for size in on_cpu)
    ranks = engine_gpus.ranks(models)
    adapters = sum(path.stat().st_size for one in models.models.values() for path in one.path.glob(_SENT))
    shared = SHARED_MEMORY_PER_PROCESS * (ranks.count + processes) + adapters
    return Deployment(
        repository=repository,
        container=container,
        image=image.name(container.tag),
        models=tuple(models.models),
        fronts=probes(models),
        engines=tuple(sorted({fact["engine"] for fact in facts if "engine" in fact})),
        packages=packages.pinned(imported, gpu=needed > 0, extra=options.packages, brought=image.brings),
        python_processes=processes,
        gpus=choices.gpus(options.gpus, needed),
        address=address,
        published=tuple(published[name] for name in PORTS),
        planned_memory=weights + sum(size["cache"] for size in on_cpu),
        memory=choices.memory(options.memory, weights, shared),
        ranks=ranks,
        pinned=locked,
        unbuilt=to_build,
        adapters=adapters,
        openai_port=options.openai_port,
    )


def _read(repository: Path) -> layout.Layout:
    found = layout.read(repository)
    unreadable = [model for model in found.models.values() if model.config is None or not model.served]
    problems = [f"{model.name}: {model.parse_error or 'no version to serve'}" for model in unreadable]
    fatal = [finding for finding in check_layout(found) if finding.severity == "fatal"]
    problems += [f"{finding.address}: {finding.message}" for finding in fatal]
    if problems:
        raise RepositoryError(
            "\n".join(problems),
            expected=f"{repository} to be a model repository that Triton can serve",
            remedy="name the folder that `builder build` wrote; `builder check` tells more",
        )
    return found


def _require_engines(repository: layout.Layout, triton: str, to_build: Set[Path]) -> None:
    """Raise RepositoryError for engines that a release cannot load; models `to_build` get new ones."""
    findings = check_layout(repository, Host(triton), _ENGINES)
    problems = [
        f"{one.address}: {one.message}; {one.remedy}"
        for one in findings
        if one.severity != "warning"
        # another engine would be served as long as nothing has built the right one
        and (one.code == OTHER or repository.models[one.model].path not in to_build)
    ]
    if problems:
        raise RepositoryError(
            "\n".join(problems),
            expected=f"the engines that the models were built for, of a version that {triton} loads",
            remedy="`builder check --triton` tells more; another release is asked for with --triton",
        )


def _facts(model: layout.Model) -> dict[str, Any]:
    """Return the plan that a front's manifest holds, {} for all other models."""
    for version in reversed(model.served):
        file = model.path / str(version) / "manifest.json"
        if file.is_file():
            try:
                return dict(json.loads(file.read_text(encoding="utf-8")).get("plan", {}))
            except (ValueError, AttributeError, TypeError) as error:
                raise RepositoryError(f"{file} is no manifest: {error}", remedy="builder build") from error
    return {}


def _gpus(model: layout.Model, models: layout.Layout) -> int:
    """Return how many GPUs a model counts on, 0 on a CPU."""
    groups = model.config.instance_group
    named = [max(group.gpus, default=0) + 1 for group in groups if group.kind == group.KIND_GPU]
    split = _facts(model).get("split", {}) if any(group.kind == group.KIND_MODEL for group in groups) else {}
    engine = engine_gpus.of(model, models) if images.of_backend(model.backend) else 0
    return int(max([*named, split.get("tensor", 0) * split.get("pipeline", 0), engine]))
