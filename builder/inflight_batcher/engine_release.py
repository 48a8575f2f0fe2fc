"""An engine against the server that is to read it: TensorRT-LLM, TensorRT and the GPU that built it."""

from __future__ import annotations

from pathlib import Path

from builder import engine_file
from builder.layout import Model
from builder.planning import versions
from builder.planning.versions import Container
from builder.rule import Host


def unlike(model: Model, folder: Path, version: str, host: Host) -> tuple[str, str]:
    """Return what keeps a server from reading an engine, and the way out; "" twice for nothing.

    Args:
        model: that names the engine.
        folder: the engine's.
        version: of TensorRT-LLM, by its config.json.
        host: the server.
    """
    container = _container(folder, host)
    problem, remedy = _of_library(version, container)
    if not problem:
        problem, remedy = _of_tensorrt(model, folder, container)
    return (problem, remedy) if problem else _of_card(folder, host)


def _container(folder: Path, host: Host) -> Container:
    """Return the container that runs an engine: the server's, where its image is known.

    Else that of our record beside the engine, or the newest that runs any.
    """
    every = versions.containers()
    asked = every.get(host.triton)
    if asked is not None and versions.TENSORRT_LLM in (*asked.images, *asked.absent):
        return asked
    recorded = every.get(str(engine_file.nearest(folder).get("triton")))
    if recorded is not None and recorded.tensorrtllm:
        return recorded
    return every[versions.holding("tensorrtllm", ())[-1]]


def _of_library(built: str, container: Container) -> tuple[str, str]:
    """Return what speaks against an engine's TensorRT-LLM in a container, and the way out, or "" twice."""
    runs = container.tensorrtllm
    if runs and _release(runs) == _release(built):
        return "", ""
    fitting = [
        tag for tag, one in versions.containers().items() if _release(one.tensorrtllm) == _release(built)
    ]
    way = (
        f"serve it with {' or '.join(fitting)}, as `--triton {fitting[-1]}` says, or build it again"
        if fitting
        else "build it again"
    )
    what = f"runs {runs}" if runs else "runs no engines"
    return f"of TensorRT-LLM {built}, and {container.tag} {what}", way


def _of_tensorrt(model: Model, folder: Path, container: Container) -> tuple[str, str]:
    file = folder / engine_file.FIRST
    built = engine_file.version(model.reachable(file)) if file.is_file() else ""
    if not built or container.tensorrt in ("", built):
        return "", ""
    return (
        f"of TensorRT {built}, and {container.tag} has {container.tensorrt}",
        "serve it in the container that it was built in, or build it again in this one",
    )


def _of_card(folder: Path, host: Host) -> tuple[str, str]:
    built = str(engine_file.nearest(folder).get("compute") or "")
    if not built or not host.compute or built in host.compute:
        return "", ""
    return (
        f"for GPUs of compute capability {built}, and there are those of {', '.join(host.compute)}",
        f"serve it on such a GPU, or build it again on one of {' or '.join(host.compute)}",
    )


def _release(version: str) -> str:
    """Return the major and minor number, by which engines are told apart."""
    return ".".join(version.split(".")[:2])
