"""The images of NVIDIA's that bring an engine whole, where pip should not: with its own PyTorch and CUDA.

`docker/images/MODULE.toml` says which has an importable module, and which backend comes with it. A further
engine is a further file there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder import contract, house
from builder.contract import Contract
from builder.deploying import choices
from builder.errors import UsageError
from builder.layout import Layout
from builder.planning import versions
from builder.planning.resolving import Needs


@dataclass(frozen=True)
class Image:
    """The end of an image's tag, the releases that exist of it, and the modules that pip leaves alone.

    `backend` is the backend of Triton's that it has beside Python's, "" where none is its own.
    """

    flavour: str
    releases: tuple[str, ...]
    brings: frozenset[str] = field(default_factory=frozenset)
    backend: str = ""

    def name(self, tag: str) -> str:
        """Return the image of a release, such as nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3."""
        return f"nvcr.io/nvidia/tritonserver:{tag}-{self.flavour}"


def image(repository: Layout, imported: Iterable[str]) -> Image:
    """Return the image that has what the models of a repository import, and the backends that run them.

    Raises UsageError where no single image has it all.
    """
    backends = {model.backend for model in repository.models.values()}
    found = _found(frozenset(imported), backends)
    if not found:
        return Image(versions.USUAL, versions.holding("onnxruntime", ()))
    if len({one.flavour for one in found.values()}) > 1:
        raise UsageError(
            f"the models need {' and '.join(found)}, which no image of NVIDIA's has together",
            expected="one engine of its own image in a repository",
            remedy="build the models into a repository each, and deploy each",
        )
    (module, one), *_ = found.items()
    _require_backends(backends, module, {one.backend})
    return one


def _found(imported: frozenset[str], backends: set[str]) -> dict[str, Image]:
    """Return the images by the module that is imported, or by the backend that runs a model."""
    every = {module: _read(module) for module in known()}
    return {
        module: one if module in imported else replace(one, releases=_with_backend(module))
        for module, one in every.items()
        if module in imported or one.backend in backends
    }


def of_backend(backend: str) -> str:
    """Return the newest image that alone has a backend, "" where the usual one has it too."""
    having = {_read(module).backend: module for module in known()}
    if backend not in having:
        return ""
    return _read(having[backend]).name(_with_backend(having[backend])[-1])


def of_contracts(repository: Layout, facts: Sequence[Mapping[str, Any]]) -> Image | None:
    """Return the image that alone serves what the fronts promise, None where their models' code decides.

    `facts` are the plans of the models, {} of those that are no fronts: a contract's own steps, or what
    nobody promises anything of. Raises UsageError where no single image serves all of them.
    """
    promised = [(fact, _contract(fact)) for fact in facts if fact]
    alone = {(its.IMAGE, its.CONTAINERS): str(fact["name"]) for fact, its in promised if its.IMAGE}
    if not alone:
        return None
    if not all(its.IMAGE for _, its in promised) or len(alone) > 1:
        raise UsageError(
            f"{' and '.join(alone.values())} is served by an image of its own, and not all models are",
            expected="models of one contract in a repository",
            remedy="build the models into a repository each, and deploy each",
        )
    ((flavour, tags),) = alone
    ours = [(module, _read(module)) for module in known() if _told(module)["flavour"] == flavour]
    backends = {model.backend for model in repository.models.values()}
    _require_backends(backends, " and ".join(module for module, _ in ours), {one.backend for _, one in ours})
    return Image(flavour, tags, frozenset().union(*(one.brings for _, one in ours)))


def _require_backends(used: set[str], module: str, there: set[str]) -> None:
    """Raise UsageError for a backend of Triton's that the image with a module has not."""
    native = sorted(used - {"python", "ensemble"} - there)
    if native:
        raise UsageError(
            f"the models need Triton's backend {' and '.join(native)}, which the image with {module} has not",
            expected=f"models of Python and {' and '.join(sorted(there))} alone",
            remedy="build them into a repository of their own, and deploy each",
        )


def _contract(fact: Mapping[str, Any]) -> Contract:
    return contract.load(str(fact.get("contract", contract.USUAL)), str(fact.get("target", "")))


def require_release(one: Image, tag: str) -> None:
    """Raise UsageError where there is no such image of a release."""
    if tag not in one.releases:
        raise UsageError(
            f"--triton {tag}: there is no {one.name(tag)} that the models could run in",
            expected=f"one of {', '.join(one.releases)}",
            remedy=f"leave --triton out for {one.releases[-1]}",
        )


def needs(module: str) -> Needs:
    """Return what a target asks of a container whose engine is a module that comes with an image."""
    told = _told(module)
    return Needs(
        sort=told["flavour"],
        library=told["library"],
        least=versions.number(told["least"]),
        below=versions.number(told["below"]),
        compute=told["compute"],
        formats={"fp8": told["fp8"]} if "fp8" in told else {},
    )


def known() -> list[str]:
    """Return the importable modules that come with an image."""
    return sorted(file.stem for file in _folder().glob("*.toml"))


def _read(module: str) -> Image:
    told = _told(module)
    return Image(told["flavour"], needs(module).releases, frozenset(told["brings"]), told["backend"])


def _with_backend(module: str) -> tuple[str, ...]:
    """Return the releases whose image has the module's backend: that is NVIDIA's, of any version."""
    able = choices.containers()
    return tuple(tag for tag in versions.holding(_told(module)["library"], ()) if tag in able)


def _told(module: str) -> dict[str, Any]:
    return tomllib.loads((_folder() / f"{module}.toml").read_text(encoding="utf-8"))


def _folder() -> Path:
    return house.folder("docker") / "images"
