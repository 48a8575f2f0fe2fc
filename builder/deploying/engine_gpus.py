"""The GPUs of a model that NVIDIA's backend of an engine runs, which takes them without an instance group."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from builder import contract, engine_file, reading
from builder.deploying.launching import ALONE, Ranks
from builder.errors import UsageError
from builder.layout import Layout, Model

_SPLIT = ("tensor_parallel_size", "pipeline_parallel_size")
"""Fields of model.json, the arguments of vLLM (triton-inference-server/vllm_backend, src/model.py)."""

_TENSORRT_LLM, _FOLDER = "tensorrtllm", "gpt_model_path"
"""The backend whose engine has a part for each GPU, and its parameter that names their folder."""


def of(model: Model, repository: Layout) -> int:
    """Return how many GPUs the newest version takes; 1 where it does not tell."""
    if model.backend == _TENSORRT_LLM:
        return _ranks(model, repository)
    told = _json(model.file(str(max(model.served)), "model.json"))
    return prod(size for size in map(told.get, _SPLIT) if isinstance(size, int) and size > 0)


def ranks(repository: Layout) -> Ranks:
    """Return what parts the engines of a repository have.

    Raises UsageError where one has several and another one has not as many, since all of them share the
    servers, and for an engine of several hosts, which one container does not start.
    """
    found = {
        name: _ranks(model, repository)
        for name, model in repository.models.items()
        if model.backend == _TENSORRT_LLM
    }
    counts = set(found.values()) or {ALONE}
    if len(counts) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in found.items())
        raise UsageError(
            f"engines of a server have as many ranks as it has: {told}",
            expected="the same number for all of them",
            remedy="build the models into a repository each, and deploy each",
        )
    for name in found:
        _require_one_host(repository.models[name], repository)
    return Ranks(counts.pop(), tuple(found))


def _require_one_host(model: Model, repository: Layout) -> None:
    folder = model.path / str(max(model.served, default=0))
    told = engine_file.record(folder).get("hosts")
    count = max(told if type(told) is int else ALONE, engine_file.hosts(_mapping(model, repository)))
    if count > 1:
        script = folder / engine_file.LAUNCH
        raise UsageError(
            f"the ranks of {model.name} are on {count} hosts, and one container has those of one",
            expected="an engine that was built for one host",
            remedy=_start(script) if script.is_file() else "start it by mpirun",
        )


def _start(script: Path) -> str:
    inside = f"inside the image, the repository at {contract.MODELS}"
    return f"run {engine_file.launched(script)} on the first of them, {inside}; here it is {script}"


def _ranks(model: Model, repository: Layout) -> int:
    """Return the ranks of an engine: by our record, or by its own config.json where there is none."""
    size = engine_file.record(model.path / str(max(model.served, default=0))).get("ranks")
    if size is None:
        size = _mapping(model, repository).get("world_size")
    return size if type(size) is int and size > 0 else ALONE


def _mapping(model: Model, repository: Layout) -> dict[str, Any]:
    """Return how an engine that is built is divided, {} where that is not told."""
    folder = repository.find(model.config.parameters[_FOLDER].string_value) if _has_folder(model) else None
    config = _json(folder / "config.json" if folder else None).get("pretrained_config")
    mapping = config.get("mapping") if isinstance(config, dict) else None
    return mapping if isinstance(mapping, dict) else {}


def _has_folder(model: Model) -> bool:
    return model.config is not None and _FOLDER in model.config.parameters


def _json(file: Path | None) -> dict[str, Any]:
    told = reading.json_of(file)[0] if file is not None and file.is_file() else None
    return told if isinstance(told, dict) else {}
