"""Publish what was staged: one rename at a time, so that every moment in between can be served."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import client_facts, files, model_config
from builder.errors import RepositoryError
from builder.plan import Plan
from builder.planning import hosts
from builder.planning.models import ModelPlan

_NOT_COMPARED = ("model", "checkpoint", "engine", "build.json", "tokenizer", hosts.FILE)
"""What the manifest holds the digests of, what is made of it, and what is no part of a version's identity."""

_ARTIFACTS = (".onnx", ".plan", ".cache", ".safetensors")
"""The digests of graphs and weights are in the manifest; an engine is made of a graph, and may come later."""

MANIFEST = "manifest.json"

_CONTRACT = ("config.pbtxt", model_config.LABELS)
"""What stands beside the version folders: Triton applies it to all of them."""


@dataclass(frozen=True)
class Published:
    """Where a build ended: the repository, the version, and whether it was there already."""

    repository: Path
    name: str
    version: int
    fresh: bool


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
        held = latest if _is_versioned(plan, model) else _latest(repository, model)
        ours = _texts(stage / model.name, version)
        if not latest or _texts(repository / model.name, held) != ours:
            return None
    return latest


def missing(plan: Plan, repository: Path, stage: Path, version: int, same: int) -> list[tuple[Path, Path]]:
    """Return (staged file, its place) of all that version `same` lacks, as a clone from git does.

    Where other hosts are named, or another workload was compared, it lacks these.
    """
    found = []
    for model in plan.models:
        folder = stage / model.name / str(version)
        held = same if _is_versioned(plan, model) else _latest(repository, model)
        home = repository / model.name / str(held)
        pairs = ((file, home / file.relative_to(folder)) for file in sorted(folder.rglob("*")))
        found += [(file, place) for file, place in pairs if file.is_file() and _lacks(file, place)]
    return found


def _lacks(file: Path, place: Path) -> bool:
    if not place.exists():
        return True
    if place.name == MANIFEST:
        return bool(_workload(file)) and _workload(place) != _workload(file)
    return place.name == hosts.FILE and place.read_bytes() != file.read_bytes()


def _workload(manifest: Path) -> Any:
    """Return what a manifest says of the texts that will be asked, None for nothing."""
    return _compared(manifest.read_bytes())[1]


def _compared(manifest: bytes) -> tuple[bytes, Any]:
    """Return a manifest without what it says of them, which makes no other version, and what that is."""
    try:
        told = json.loads(manifest)
        workload = told["calibration"].pop("workload", None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return manifest, None
    return files.dump(told).encode(), workload


def restore(pairs: list[tuple[Path, Path]], repository: Path) -> None:
    """Put files that a version lacks into their places."""
    with files.translated(RepositoryError, f"completing {repository}"):
        for staged, place in pairs:
            part = place.with_name(f".{place.name}.part")
            part.unlink(missing_ok=True)
            files.place(staged, part)
            part.replace(place)


def note(published: Published, record: dict[str, Any]) -> None:
    """Write build.json: what differs between machines and runs, and is no part of the version's identity."""
    with files.translated(RepositoryError, "writing build.json"):
        folder = published.repository / published.name / str(published.version)
        files.write_json(folder / "build.json", record)


def _is_versioned(plan: Plan, model: ModelPlan) -> bool:
    """Say whether every build gives the model a version: an ensemble beside the front stays as it is."""
    return not model.member.steps or model is plan.front


def _latest(repository: Path, model: ModelPlan) -> int:
    return max(_versions(repository / model.name), default=0)


def _texts(model: Path, version: int) -> dict[str, bytes]:
    """Return the small files of one version by relative name, and config.pbtxt.

    One that names its own folder says the same in every version. A config.pbtxt that does is of one version
    alone, so that another one is refused under its name.
    """
    folder = model / str(version)
    own = f"/{model.name}/{version}".encode()
    found = {
        str(file.relative_to(folder)): file.read_bytes().replace(own, b"/own")
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.relative_to(folder).parts[0] not in _NOT_COMPARED
        and file.suffix not in _ARTIFACTS
        and "__pycache__" not in file.parts
    }
    if MANIFEST in found:
        found[MANIFEST] = _compared(found[MANIFEST])[0]
    return {**found, **{name: _bytes(model / name).replace(own, b"/own") for name in _CONTRACT}}


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def publish(plan: Plan, stage: Path, repository: Path, version: int) -> Published:
    """Move what is staged into the repository so that every moment in between can be served.

    New models appear whole, parts before those that use them. A new version of a known model is
    one rename, the front's last; its config.pbtxt and tokenizer must be the old ones, because
    Triton applies both changes to requests that are under way. Where another build published the very same
    meanwhile, that is returned.

    Raises:
        RepositoryError: the folder cannot be written, another build came first, or the contract of the name
            would change.
    """
    with files.translated(RepositoryError, f"publishing to {repository}"):
        for compiled in list(stage.rglob("__pycache__")):  # left by the server that verified the stage
            shutil.rmtree(compiled)
        repository.mkdir(parents=True, exist_ok=True)
        home = repository.resolve()
        with files.locked(home.parent / f".{home.name}.lock"):
            if next_version(plan, repository) != version:
                same = published(plan, repository, stage, version)
                if same is not None:
                    return Published(repository, plan.front.name, same, fresh=False)
                raise RepositoryError(
                    f"another build published version {version} of {plan.name} meanwhile",
                    remedy="run the same command again",
                )
            _require_same_contract(plan, stage, repository)
            for model in _front_last(plan, repository):
                _publish_model(model, stage, repository, version)
    return Published(repository, plan.front.name, version, fresh=True)


def _front_last(plan: Plan, repository: Path) -> list[ModelPlan]:
    """An ensemble comes after the front it runs, unless it is there already."""
    beside = [model for model in plan.models if not _is_versioned(plan, model)]
    new = [model for model in beside if not (repository / model.name).exists()]
    parts = [model for model in plan.models if _is_versioned(plan, model) and model is not plan.front]
    return [*parts, plan.front, *new]


def _publish_model(model: ModelPlan, stage: Path, repository: Path, version: int) -> None:
    if (repository / model.name).is_dir():
        (stage / model.name / str(version)).rename(repository / model.name / str(version))
    else:
        (stage / model.name).rename(repository / model.name)


def _require_same_contract(plan: Plan, stage: Path, repository: Path) -> None:
    for model in plan.models:
        if not (repository / model.name).exists():
            continue
        for name in _CONTRACT:
            known, staged = repository / model.name / name, stage / model.name / name
            if _bytes(known) != _bytes(staged):
                changed = _changed_facts(known, staged)
                raise RepositoryError(
                    f"{known} is not what this build would write{changed and ': ' + changed}",
                    expected=f"the same {name} for every version: Triton applies it to all of them",
                    remedy=f"publish under another name with --name, or move {known.parent} away first",
                )
    for model in plan.models:
        if model.member.tokenizes:
            _require_same_tokenizer(plan, model, stage, repository)


def _changed_facts(known: Path, staged: Path) -> str:
    """Return what clients are told by one config.pbtxt and not by the other, "" where that is the same."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    try:
        told = [text_format.Parse(_bytes(path), ModelConfig()).parameters for path in (known, staged)]
    except (text_format.ParseError, UnicodeDecodeError):
        return ""
    values = [{name: one[name].string_value for name in one} for one in told]
    return ", ".join(
        f"{name} is {values[0].get(name, 'not told')} there and {values[1].get(name, 'not told')} here"
        for name in client_facts.NAMES
        if values[0].get(name) != values[1].get(name)
    )


def _require_same_tokenizer(plan: Plan, model: ModelPlan, stage: Path, repository: Path) -> None:
    old = _latest(repository, model)
    held = repository / model.name / str(old) / "tokenizer" / "tokenizer.json"
    staged = next((stage / model.name).glob("*/tokenizer/tokenizer.json"))
    if held.is_file() and held.read_bytes() != staged.read_bytes():
        raise RepositoryError(
            f"version {old} of {plan.name} has another tokenizer",
            expected="the same tokenizer: clients may have encoded requests with it",
            remedy="publish under another name with --name",
        )
