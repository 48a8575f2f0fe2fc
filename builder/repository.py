"""Repository: the deployment's models as Triton reads them, staged whole, published one rename at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import files, house, model_config, modules
from builder.convert import Artifact
from builder.errors import RepositoryError
from builder.manifest import manifest
from builder.plan import ModelPlan, Plan
from builder.prove import Evidence
from builder.source import Checkpoint

PLACEHOLDER = ".keep"
"""git and object stores drop empty folders, and Triton serves no model without a version folder."""

MAX_WAITING = 128
DEADLINE_SECONDS = 600


@dataclass(frozen=True)
class Published:
    """Where a build ended: the repository, the version, and whether it was there already."""

    repository: Path
    name: str
    version: int
    fresh: bool


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
    plan: Plan, checkpoint: Checkpoint, artifact: Artifact, evidence: Evidence, stage: Path, version: int
) -> None:
    """Write every model of the plan under `stage`, each with the one version folder `version`."""
    with files.translated(RepositoryError, "writing the repository"):
        for model in plan.models:
            home = stage / model.name
            folder = home / str(version)
            folder.mkdir(parents=True)
            (home / "config.pbtxt").write_text(model_config.text(model, plan.name), encoding="utf-8")
            if model.member.steps:
                (folder / PLACEHOLDER).touch()
            else:
                _write_python_model(plan, model, artifact, folder)
        front = stage / plan.front.name / str(version)
        files.place(artifact.model, front / "model")
        shutil.copyfile(evidence.golden, front / "golden.json")
        files.write_json(front / "manifest.json", manifest(plan, checkpoint, artifact, evidence))


def _write_python_model(plan: Plan, model: ModelPlan, artifact: Artifact, folder: Path) -> None:
    backends = house.folder("backends")
    main = backends / model.member.code / "model.py"
    roots = [main]
    if model is plan.front:
        roots.append(backends / "engine" / f"{plan.engine}.py")
    shutil.copyfile(main, folder / "model.py")
    for file in modules.reached(backends, roots):
        if file != main:
            copy = folder / modules.PACKAGE / file.relative_to(backends)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    files.place(artifact.tokenizer, folder / "tokenizer")
    files.write_json(folder / "settings.json", _settings(plan, model, artifact))


def _settings(plan: Plan, model: ModelPlan, artifact: Artifact) -> dict[str, Any]:
    ids = artifact.generation
    if model is not plan.front:
        return ids
    return {
        **ids,
        "engine": plan.engine,
        "engine_arguments": dict(plan.engine_arguments),
        "model": "model",
        "context_length": plan.memory.context,
        "max_active": plan.concurrency,
        "max_waiting": MAX_WAITING,
        "default_deadline_seconds": DEADLINE_SECONDS,
        "reasoning": None,
    }


def next_version(plan: Plan, repository: Path) -> int:
    """Return the number above every version that any model of the plan has had."""
    return 1 + max(
        (number for model in plan.models for number in _versions(repository / model.name)), default=0
    )


def _versions(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def published(plan: Plan, repository: Path, stage: Path, version: int) -> int | None:
    """Return the version that already holds exactly what is staged, None when there is none.

    Same manifest and same files in every model but the artifact, whose digests the manifest holds.
    """
    latest = max(_versions(repository / plan.front.name), default=0)
    for model in plan.models:
        held = latest if not model.member.steps else max(_versions(repository / model.name), default=0)
        ours = _texts(stage / model.name, version)
        if not latest or _texts(repository / model.name, held) != ours:
            return None
    return latest


def missing(plan: Plan, repository: Path, stage: Path, version: int, same: int) -> list[tuple[Path, Path]]:
    """Return (staged file, its place) of all that version `same` lacks, as a clone from git does."""
    found = []
    for model in plan.models:
        folder = stage / model.name / str(version)
        home = repository / model.name / str(same if not model.member.steps else _latest(repository, model))
        pairs = ((file, home / file.relative_to(folder)) for file in sorted(folder.rglob("*")))
        found += [(file, place) for file, place in pairs if file.is_file() and not place.exists()]
    return found


def restore(pairs: list[tuple[Path, Path]], repository: Path) -> None:
    """Put files that a version lacks into their places."""
    with files.translated(RepositoryError, f"completing {repository}"):
        for staged, place in pairs:
            files.place(staged, place)


def note(published: Published, record: dict[str, Any]) -> None:
    """Write build.json: what differs between machines and runs, and is no part of the version's identity."""
    with files.translated(RepositoryError, "writing build.json"):
        folder = published.repository / published.name / str(published.version)
        files.write_json(folder / "build.json", record)


def _latest(repository: Path, model: ModelPlan) -> int:
    return max(_versions(repository / model.name), default=0)


def _texts(model: Path, version: int) -> dict[str, bytes]:
    """Return the small files of one version by relative name, and config.pbtxt."""
    folder = model / str(version)
    found = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.relative_to(folder).parts[0] not in ("model", "build.json", "tokenizer")
        and "__pycache__" not in file.parts
    }
    config = model / "config.pbtxt"
    return {**found, "config.pbtxt": config.read_bytes() if config.is_file() else b""}


def publish(plan: Plan, stage: Path, repository: Path, version: int) -> Published:
    """Move what is staged into the repository so that every moment in between can be served.

    New models appear whole, parts before those that use them. A new version of a known model is
    one rename, the front's last; its config.pbtxt and tokenizer must be the old ones, because
    Triton applies both changes to requests that are under way.

    Raises:
        RepositoryError: the folder cannot be written, or the contract of the name would change.
    """
    with files.translated(RepositoryError, f"publishing to {repository}"):
        for compiled in list(stage.rglob("__pycache__")):  # left by the server that verified the stage
            shutil.rmtree(compiled)
        repository.mkdir(parents=True, exist_ok=True)
        home = repository.resolve()
        with files.locked(home.parent / f".{home.name}.lock"):
            if next_version(plan, repository) != version:
                raise RepositoryError(
                    f"another build published version {version} of {plan.name} meanwhile",
                    remedy="run the same command again",
                )
            _require_same_contract(plan, stage, repository)
            for model in _front_last(plan, repository):
                _publish_model(model, stage, repository, version)
    return Published(repository, plan.name, version, fresh=True)


def _front_last(plan: Plan, repository: Path) -> list[ModelPlan]:
    """An ensemble comes after the front it runs, unless it is there already."""
    new = [model for model in plan.models if model.member.steps and not (repository / model.name).exists()]
    parts = [model for model in plan.models if not model.member.steps and model is not plan.front]
    return [*parts, plan.front, *new]


def _publish_model(model: ModelPlan, stage: Path, repository: Path, version: int) -> None:
    if (repository / model.name).is_dir():
        (stage / model.name / str(version)).rename(repository / model.name / str(version))
    else:
        (stage / model.name).rename(repository / model.name)


def _require_same_contract(plan: Plan, stage: Path, repository: Path) -> None:
    for model in plan.models:
        known = repository / model.name / "config.pbtxt"
        if not (repository / model.name).exists():
            continue
        if not known.is_file() or known.read_bytes() != (stage / model.name / "config.pbtxt").read_bytes():
            raise RepositoryError(
                f"{known} is not what this build would write",
                expected="the same config for every version of a model: Triton applies it to all of them",
                remedy=f"publish under another name with --name, or move {known.parent} away first",
            )
    old = max(_versions(repository / plan.front.name), default=0)
    held = repository / plan.front.name / str(old) / "tokenizer" / "tokenizer.json"
    staged = next((stage / plan.front.name).glob("*/tokenizer/tokenizer.json"))
    if held.is_file() and held.read_bytes() != staged.read_bytes():
        raise RepositoryError(
            f"version {old} of {plan.name} has another tokenizer",
            expected="the same tokenizer: clients may have encoded requests with it",
            remedy="publish under another name with --name",
        )
