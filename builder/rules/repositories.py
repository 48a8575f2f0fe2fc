"""TRN00x: the repository itself, and which of its folders are models.

Triton: core/src/model_repository_manager/model_repository_manager.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.layout import Layout, Model
from builder.rule import Fault, rule

LEFTOVERS = (".ipynb_checkpoints", "__MACOSX")
"""Folders that editors and archivers leave behind."""

_OF_A_CLONE = (".git", ".github", ".hg", ".svn")


@rule("TRN001", "fatal")
def repository_unreadable(repository: Layout) -> Iterator[Fault]:
    """The repository is a folder that can be read."""
    for part in repository.parts:
        if part.problem:
            remedy = "name a folder that holds one folder for each model"
            yield Fault((), part.problem, remedy, file=".", repository=str(part.path))


@rule("TRN002", "fatal")
def repository_empty(repository: Layout) -> Iterator[Fault]:
    """A repository holds a model: Triton is ready without any, and serves nothing."""
    if (
        not repository.problem
        and not repository.models
        and not any(part.is_model for part in repository.parts)
    ):
        message = f"{repository.path} holds no model: Triton would be ready and serve nothing"
        yield Fault((), message, "write one with `builder build`", file=".")


@rule("TRN008")
def name_not_unique(repository: Layout) -> Iterator[Fault]:
    """A model's name is in one of the repositories that Triton serves together; Triton unloads both.

    Triton: failed to poll model 'X': not unique across all model repositories
    """
    for twin in repository.twins:
        yield Fault(
            (),
            f"failed to poll model '{twin.name}': not unique across all model repositories: "
            f"{twin.path} has it too",
            f"rename one of them, or serve {twin.path.parent} by itself",
            file=".",
            model=twin.name,
        )


@rule("TRN011")
def stray_folder(model: Model) -> Iterator[Fault]:
    """A folder at the top of a repository is a model: Triton tries to load each.

    Triton: failed to open text file for read
    A hidden folder is one too: with `.git` or `.ipynb_checkpoints` there, the server does not even start,
    unless `--exit-on-error=false` is given.

    Bad:
        == m/config.pbtxt
        == m/1/model.py
        == notes/readme.md
    Good:
        == m/config.pbtxt
        == m/1/model.py
    """
    if model.is_stray:
        yield Fault(
            (),
            f"Triton takes the folder {model.name} for a model and fails to load it: it has no config.pbtxt "
            "and no version",
            _way_out(model.name),
            file=".",
        )


def _way_out(name: str) -> str:
    if name in _OF_A_CLONE:
        return f"let Triton serve a folder inside the clone: {name} belongs at the top of it"
    return f"remove {name}" if name in LEFTOVERS else f"move {name} out of the repository"


@rule("TRN012", "fatal")
def model_for_repository(repository: Layout) -> Iterator[Fault]:
    """A repository holds models, each in its folder: a model's own folder is none.

    Triton takes the versions in it for models.
    """
    for part in repository.parts:
        if part.is_model:
            yield Fault(
                (),
                f"{part.path} is a model, and no repository: it holds a config.pbtxt itself",
                f"name the folder that holds it: {_parent(part.path)}",
                file=".",
                repository=str(part.path),
            )


def _parent(path: Path) -> Path:
    """Return the folder above, also above "." and "..", which name none."""
    return path.parent if path.name not in ("", "..") else path / ".."
