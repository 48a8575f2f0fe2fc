"""Repository: the deployment's models as Triton reads them, staged whole beside the one they are for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from builder import (
    adapter,
    client_facts,
    compiling,
    contract,
    engine_file,
    files,
    house,
    model_config,
    modules,
    yaml_text,
)
from builder.convert import Artifact
from builder.deploying import several_hosts
from builder.errors import RepositoryError
from builder.inflight_batcher import engine_promise
from builder.manifest import manifest
from builder.plan import Plan
from builder.planning.models import ModelPlan, is_graph
from builder.prove import Evidence
from builder.source import Checkpoint, read_json
from builder.target import Compilation

PLACEHOLDER = ".keep"
"""git and object stores drop empty folders, and Triton serves no model without a version folder."""

MAX_WAITING = 128
DEADLINE_SECONDS = 600


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """Give an empty folder on the repository's own disk; it is gone after the block."""
    # a link may lead to another disk
    home = repository.resolve()
    with files.translated(RepositoryError, f"staging beside {repository}"):
        home.parent.mkdir(parents=True, exist_ok=True)
        files.sweep(home)
        folder = home.parent / f".{home.name}.{os.getpid()}"
        folder.mkdir()
    try:
        with files.translated(RepositoryError, f"publishing to {repository}"):
            if home.exists():
                _require_writable(home, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_writable(repository: Path, stage: Path) -> None:
    """Move an empty file from the stage into the repository, as publishing will do with folders."""
    if not repository.is_dir():
        raise RepositoryError(
            f"{repository} is not a folder", expected="a model repository", remedy="choose another --output"
        )
    probe = stage / "probe"
    probe.touch()
    probe.rename(repository / f".writable-{os.getpid()}").unlink()


def write(
    plan: Plan,
    checkpoint: Checkpoint,
    artifact: Artifact,
    evidence: Evidence,
    stage: Path,
    version: int,
    engine: Path | None = None,
) -> None:
    """Write every model of the plan under `stage`, each with the one version folder `version`.

    `engine` is the compiled graph, None where there is none, or none yet.
    """
    with files.translated(RepositoryError, "writing the repository"):
        told = client_facts.of(plan, artifact.tokenizer)
        for model in plan.models:
            home = stage / model.name
            folder = home / str(version)
            folder.mkdir(parents=True)
            config = model_config.text(model, plan, version, told if model is plan.front else {})
            (home / "config.pbtxt").write_text(config, encoding="utf-8")
            _write_labels(plan, model, home)
            _write_version(plan, model, artifact, folder)
        if plan.compilation is not None:
            home = stage / plan.graph.name / str(version)
            _write_engine(plan.compilation, artifact, home, engine)
            several_hosts.write(plan, plan.compilation, home)
        front = stage / plan.front.name / str(version)
        _write_promised(plan, front)
        if artifact.draft is not None:
            files.place(artifact.draft, front / artifact.draft.name)
        shutil.copyfile(evidence.golden, front / "golden.json")
        laid = _lay_adapters(plan, artifact, front)
        files.write_json(front / "manifest.json", manifest(plan, checkpoint, artifact, evidence, laid))


def _lay_adapters(plan: Plan, artifact: Artifact, front: Path) -> dict[str, str]:
    target = house.plugin("targets", plan.target, option="--target")
    if not hasattr(target, "write_adapter"):
        return adapter.lay(plan.adapters, front)
    return adapter.lay(plan.adapters, front, partial(target.write_adapter, plan, artifact))


def _write_promised(plan: Plan, front: Path) -> None:
    """Write the files of the contract into the front's version folder."""
    home = f"{contract.MODELS}/{plan.front.name}/{front.name}"
    for name, content in contract.load(plan.contract, plan.target).files(plan.engine_arguments, home).items():
        if name.endswith(".yaml"):
            (front / name).write_text(yaml_text.dump(content), encoding="utf-8")
        else:
            files.write_json(front / name, content)


def _write_labels(plan: Plan, model: ModelPlan, home: Path) -> None:
    if any(tensor.labelled for tensor in model.outputs):
        labels = "".join(f"{label}\n" for label in plan.facts.labels)
        (home / model_config.LABELS).write_text(labels, encoding="utf-8")


def _write_version(plan: Plan, model: ModelPlan, artifact: Artifact, folder: Path) -> None:
    if model.member.steps:
        if model is not plan.front:
            (folder / PLACEHOLDER).touch()
    elif model.member.backend == "python":
        _write_python_model(plan, model, artifact, folder)
    else:
        for file in sorted(artifact.model.iterdir()):
            files.place(file, folder / file.name)
        if model.member.tokenizes:
            files.place(artifact.tokenizer, folder / "tokenizer")
        target = house.plugin("targets", plan.target, option="--target")
        if hasattr(target, "engine_files"):
            told = target.engine_files(
                plan.engine_arguments, artifact.config, artifact.tokenizer, artifact.settings
            )
            for name, content in told.items():
                files.write_json(folder / name, content)


def _write_engine(compilation: Compilation, artifact: Artifact, folder: Path, engine: Path | None) -> None:
    """Write the engine, what it is built by, and what decided that."""
    digest = compiling.source_digest(compilation, artifact.digests)
    described = artifact.model / compilation.source / "config.json"
    # a graph has none
    config = {"config": engine_promise.told_of(read_json(described))} if described.is_file() else {}
    files.write_json(folder / engine_file.RECORD, {**compiling.record(compilation, digest), **config})
    script = folder / engine_file.SCRIPT
    script.write_text(compiling.script(compilation), encoding="utf-8")
    script.chmod(0o755)
    if engine is not None:
        files.place(engine, folder / compilation.result)
        if engine.is_dir():
            # as large as the engine, and read by nobody once there is one
            shutil.rmtree(folder / compilation.source)


def _write_python_model(plan: Plan, model: ModelPlan, artifact: Artifact, folder: Path) -> None:
    backends = house.folder("backends")
    main = backends / model.member.code / "model.py"
    roots = [main]
    if model is plan.front:
        roots.append(backends / "engine" / f"{plan.engine}.py")
        if _engine_model(plan) is None:
            files.place(artifact.model, folder / "model")
    shutil.copyfile(main, folder / "model.py")
    for file in modules.reached(backends, roots):
        if file != main:
            copy = folder / modules.PACKAGE / file.relative_to(backends)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if model.member.tokenizes:
        files.place(artifact.tokenizer, folder / "tokenizer")
    files.write_json(folder / "settings.json", _settings(plan, model, artifact))


def _settings(plan: Plan, model: ModelPlan, artifact: Artifact) -> dict[str, Any]:
    told = artifact.settings
    if model.member.settings:
        return {name: told[name] for name in model.member.settings}
    if model is not plan.front:
        return told
    adapters = {one.name: f"{adapter.FOLDER}/{one.name}" for one in plan.adapters}
    beside = _engine_model(plan)
    return {
        **told,
        **({"engine_model": beside} if beside else {}),
        **({"adapters": adapters} if adapters else {}),
        "engine": plan.engine,
        "engine_arguments": _front_arguments(plan),
        "model": "" if beside else "model",
        "context_length": plan.memory.context,
        "max_active": plan.concurrency,
        "max_waiting": MAX_WAITING,
        "default_deadline_seconds": DEADLINE_SECONDS,
        "reasoning": None,
    }


def _front_arguments(plan: Plan) -> dict[str, Any]:
    """Return what the front is told of its engine: all of it, where it hosts that itself."""
    target = house.plugin("targets", plan.target, option="--target")
    if hasattr(target, "front_arguments"):
        built = (
            {"compute": plan.compilation.compute, "ranks": plan.compilation.ranks} if plan.compilation else {}
        )
        return {**target.front_arguments(plan.engine_arguments, plan.container), **built}
    promised = contract.load(plan.contract, plan.target)
    if hasattr(promised, "front_arguments"):
        return dict(promised.front_arguments(plan.engine_arguments))
    return dict(plan.engine_arguments)


def _engine_model(plan: Plan) -> str | None:
    """Return the name of the model that is the engine itself, None where the front hosts it."""
    return next((model.name for model in plan.models if is_graph(model.member)), None)
