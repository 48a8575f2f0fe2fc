"""TRN63x: versions that `builder build` wrote are as it wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import ensemble_graph, reading
from builder.completion import completes
from builder.layout import Layout, Model
from builder.rule import Fault, Host, rule

# What the models that `builder build` writes read from their version folder at load.
_SETTINGS = "settings.json"
_MANIFEST = "manifest.json"
_GOLDEN = "golden.json"
_IMPORT = b"from tokenizers import"


@rule("TRN631")
def version_file_missing(model: Model) -> Iterator[Fault]:
    """A version has the artifact that its settings name, and its tokenizer where its code reads one."""
    for folder in _with_code(model):
        artifact, problem = _artifact(model, folder)
        tokenizer = ["tokenizer/tokenizer.json"] if _tokenizes(folder) else []
        needed = [*tokenizer, *artifact]
        problems = [f"{name} does not exist" for name in needed if not (folder / name).exists()]
        for text in [problem, *problems] if problem else problems:
            yield Fault(
                (),
                f"{model.name}/{folder.name}: {text}",
                "build this version again with `builder build`",
                file=folder.name,
            )


@rule("TRN632")
def manifest_broken(model: Model) -> Iterator[Fault]:
    """A manifest.json is JSON, and so are its parts."""
    for folder in _fronts(model):
        problem = _manifest(model, folder)[1]
        if problem:
            yield Fault(
                (),
                f"{model.name}/{folder.name}/{_MANIFEST} {problem}",
                "build this version again with `builder build`",
                file=f"{folder.name}/{_MANIFEST}",
            )


@rule("TRN633")
def artifact_changed(model: Model, repository: Layout) -> Iterator[Fault]:
    """An artifact's files are those that the proof was made of, by their digests.

    Those of a front that is an ensemble lie in the models that it runs.
    """
    for folder in _fronts(model):
        for name, digest in sorted(_manifest(model, folder)[0].items()):
            for owner, inner in _places(model, repository, folder, name):
                path = owner.file(folder.name, inner)
                if path is None:
                    message = f"{inner}, which the manifest names, is not there"
                    remedy = "copy the version again"
                elif reading.digest(path) != digest:
                    message = (
                        f"{inner} is not the file that was proven: its SHA-256 is another than the manifest's"
                    )
                    remedy = "copy the version again, or build it again with `builder build`"
                else:
                    continue
                home = folder.name if owner is model else f"../{owner.name}/{folder.name}"
                yield Fault((), f"{owner.name}/{folder.name}: {message}", remedy, file=f"{home}/{inner}")


@rule("TRN634")
def config_gone(model: Model, repository: Layout, host: Host) -> Iterator[Fault]:
    """Every model that `builder build` wrote has its config.pbtxt, also where Triton could complete one.

    What Triton would write lacks the batching and the kinds of tensors that the deployment was proven with.
    """
    for folder in _fronts(model):
        for name in _models_of(model, folder):
            part = repository.models.get(name)
            # where Triton would write none, config_unreadable tells
            if part is not None and not (part.path / "config.pbtxt").exists() and completes(part, host):
                yield Fault(
                    (),
                    f"{name} has no config.pbtxt, and by {model.name}/{folder.name}/{_MANIFEST} it had one: "
                    "Triton would complete another than the one that was proven",
                    "copy the model's folder again, or build it again with `builder build`",
                    file=f"../{name}/config.pbtxt",
                )


def _with_code(model: Model) -> Iterator[Path]:
    """Yield the served versions of a Python model that `builder build` wrote."""
    for version in model.served if model.backend == "python" else ():
        folder = model.path / str(version)
        if (folder / _SETTINGS).is_file() and (folder / "backends").is_dir():
            yield folder


def _fronts(model: Model) -> Iterator[Path]:
    """Yield the served versions that `builder build` wrote, as the front of a deployment or a part of it."""
    yield from _with_code(model)
    for version in model.served if model.backend != "python" else ():
        folder = model.path / str(version)
        # somebody else's manifest has no golden answers beside it
        if (folder / _GOLDEN).is_file() and (folder / _MANIFEST).is_file():
            yield folder


def _places(model: Model, repository: Layout, folder: Path, name: str) -> Iterator[tuple[Model, str]]:
    """Yield where a file of the artifact lies: the model, and the name in its version of the same number."""
    kind, _, inner = name.partition("/")
    if model.config is None:
        return  # which models it runs is not known
    if model.backend == "python":
        beside = _engine_model(model, folder, repository)
        if beside is None or kind != "model":
            yield model, name
        elif _is_kept(beside, folder, inner):
            yield beside, inner
        return
    steps = dict.fromkeys(step.model_name for step in ensemble_graph.steps(model))
    for owner in [repository.models[step] for step in steps if step in repository.models] or [model]:
        there = owner.path / folder.name
        if owner.config is None:
            continue  # nor what runs it
        if kind == "model" and owner.backend not in ("python", "ensemble"):
            if _is_kept(owner, folder, inner):
                yield owner, inner
        elif kind == "tokenizer" and (owner.backend == "vllm" or _is_told(owner, there)):
            yield owner, name


def _engine_model(model: Model, folder: Path, repository: Layout) -> Model | None:
    """Return the model that is a front's engine, None where the front hosts it."""
    told = reading.json_of(model.reachable(folder / _SETTINGS))[0]
    name = told.get("engine_model") if isinstance(told, dict) else None
    return repository.models.get(name) if isinstance(name, str) else None


def _is_kept(owner: Model, folder: Path, inner: str) -> bool:
    """Say whether an engine's model should have a file: what ranks are built of is there until they are."""
    return owner.backend != "tensorrtllm" or owner.file(folder.name, inner) is not None


def _is_told(owner: Model, folder: Path) -> bool:
    return owner.backend == "python" and _tokenizes(owner.reachable(folder))


def _tokenizes(folder: Path) -> bool:
    """Say whether the code that was copied into a version imports the library of tokenizers."""
    return any(_IMPORT in reading.content(file) for file in reading.below(folder / "backends", ".py"))


def _artifact(model: Model, folder: Path) -> tuple[list[str], str]:
    """Return the name of the artifact, where the settings have one, and what is wrong with them."""
    settings, problem = reading.json_of(model.reachable(folder / _SETTINGS))
    if problem:
        return [], f"{_SETTINGS} {problem}"
    name = settings.get("model", "") if isinstance(settings, dict) else None
    if not isinstance(name, str):
        return [], f"{_SETTINGS} does not name its model"
    return [name] if name else [], ""


def _manifest(model: Model, folder: Path) -> tuple[dict[str, str], str]:
    """Return the digests of the artifact's files by name, and what is wrong with the manifest."""
    file = model.file(folder.name, _MANIFEST)
    if file is None:
        return {}, ""
    found, problem = reading.json_of(file)
    for key in ("artifact", "sha256"):
        found = found.get(key) if isinstance(found, dict) else None
    if not problem and not isinstance(found, dict):
        problem = "does not name its artifact's digests"
    return {str(name): str(digest) for name, digest in found.items()} if not problem else {}, problem


def _models_of(model: Model, folder: Path) -> Iterator[str]:
    """Yield the names of the models that a front's manifest names, none where it cannot be read."""
    file = model.file(folder.name, _MANIFEST)
    found: Any = {} if file is None else reading.json_of(file)[0]
    for key in ("plan", "models"):
        found = found.get(key) if isinstance(found, dict) else None
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            yield one["name"]
