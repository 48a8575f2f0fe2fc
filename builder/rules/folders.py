"""Rules about folders and files: what Triton's poll trips over before it reads a config."""

from __future__ import annotations

from collections.abc import Iterator

from builder.check import Finding
from builder.layout import LARGEST_VERSION, Layout, Model


def repository_unreadable(repository: Layout) -> Iterator[Finding]:
    """The folder itself must exist and be readable."""
    if repository.problem:
        yield Finding(
            "repository-unreadable",
            "fatal",
            ".",
            repository.problem,
            "name a folder that `builder build` wrote",
        )


def repository_empty(repository: Layout) -> Iterator[Finding]:
    """Triton reports READY with no model at all."""
    if not repository.problem and not repository.models:
        message = f"{repository.path} holds no model: Triton would be ready and serve nothing"
        yield Finding("repository-empty", "fatal", ".", message, "write one with `builder build`")


def version_overflows(model: Model, repository: Layout) -> Iterator[Finding]:
    """Triton parses version names with std::stoll and aborts the whole server on overflow."""
    for folder in model.folders:
        if folder.number is not None and abs(folder.number) > LARGEST_VERSION:
            yield Finding(
                "version-overflows",
                "fatal",
                f"{model.name}/{folder.path.name}",
                f"version folder {folder.path.name} is larger than {LARGEST_VERSION}: "
                "Triton aborts with std::out_of_range",
                "rename it to a small number",
            )


def version_misread(model: Model, repository: Layout) -> Iterator[Finding]:
    """Triton reads the number a name begins with, then looks for a folder of that number."""
    for folder in model.folders:
        if folder.number is None or folder.is_exact or abs(folder.number) > LARGEST_VERSION:
            continue
        hangs = folder.number in model.served and not (model.path / str(folder.number)).is_dir()
        missing = f", then waits for ever for {model.name}/{folder.number}, which does not exist"
        yield Finding(
            "version-misread",
            "fatal" if hangs else "warning",
            f"{model.name}/{folder.path.name}",
            f"Triton takes the folder {folder.path.name} for version {folder.number}"
            + (missing if hangs else ""),
            f"move {folder.path.name} out of the repository",
        )


def version_zero(model: Model, repository: Layout) -> Iterator[Finding]:
    """Version 0 cannot be told from 'not set' in an ensemble step."""
    if 0 in model.versions:
        yield Finding(
            "version-zero",
            "warning",
            f"{model.name}/0",
            f"model '{model.name}' has a version 0, which a request cannot tell from 'no version named'",
            "count versions from 1",
        )


def no_version(model: Model, repository: Layout) -> Iterator[Finding]:
    """Every model, ensembles too, needs a version folder that its version policy picks."""
    if not model.parse_error and not model.served:
        yield Finding(
            "no-version",
            "error",
            model.name,
            f"at least one version must be available under the version policy of model '{model.name}'",
            f"add the folder {model.name}/1; for an ensemble it holds only a placeholder file such as .keep",
        )
