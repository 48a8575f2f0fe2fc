"""TRN64x: an engine of TensorRT-LLM against the model that names it.

Source: TensorRT-LLM 1.2, triton_backend/inflight_batcher_llm, and the folder that `trtllm-build` writes:
config.json and one rank{n}.engine for each rank.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.inflight_batcher import engine_folder
from builder.layout import Layout, Model
from builder.planning import versions
from builder.planning.versions import Container
from builder.rule import Fault, Host, rule
from builder.textproto import Key

MISSING = "TRN641"
_ENGINE = "gpt_model_path"
_FIELD = ("parameters", Key(_ENGINE))
_TOKENIZERS = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt"})


@rule(MISSING)
def engine_missing(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """The folder that gpt_model_path names holds an engine: config.json and its ranks.

    The server says only "[json.exception.parse_error.101]" and no name.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1/engine" } }
        == m/1/.keep
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    """
    folder = _engine(model, config, repository)
    if folder is not None and not (folder / "config.json").is_file():
        what = "holds no config.json" if folder.is_dir() else "does not exist"
        yield Fault(_FIELD, f"{config.parameters[_ENGINE].string_value} {what}", _way_to_it(model, folder))


@rule("TRN642")
def engine_config_broken(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """An engine's config.json is the one that `trtllm-build` wrote beside it.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"architecture": "LlamaForCausalLM"}
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    """
    folder = _engine(model, config, repository)
    if folder is None or not (folder / "config.json").is_file():
        return
    told, problem = _told(model, folder)
    problem = problem or engine_folder.misdescribed(told)
    if problem:
        yield _fault(
            model,
            folder / "config.json",
            f"config.json {problem}: it is not that of an engine",
            "copy the engine's whole folder; a checkpoint's folder must go through `trtllm-build` first",
        )


@rule("TRN643")
def engine_ranks(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """An engine has one file for each rank that it was built for, none of them empty, and no other.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "build_config": {},
         "pretrained_config": {"mapping": {"world_size": 2, "tp_size": 2}}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "build_config": {},
         "pretrained_config": {"mapping": {"world_size": 2, "tp_size": 2}}}
        == m/1/rank0.engine
        engine
        == m/1/rank1.engine
        engine
    """
    folder, told = _whole(model, config, repository)
    if folder is None:
        return
    size = told["pretrained_config"]["mapping"].get("world_size", 1)
    wanted = {f"rank{rank}.engine" for rank in range(size)}
    there = {path.name: path.stat().st_size for path in model.reachable(folder).glob("rank*.engine")}
    faults = (
        ("missing", wanted - set(there)),
        ("empty", {name for name in wanted if there.get(name) == 0}),
        ("of another engine", set(there) - wanted),
    )
    parts = [
        f"{', '.join(sorted(names))} {'is' if len(names) == 1 else 'are'} {what}"
        for what, names in faults
        if names
    ]
    if parts:
        yield _fault(
            model,
            folder,
            f"the engine was built for {size} rank{'s' * (size != 1)}: {'; '.join(parts)}",
            "copy the engine's whole folder into an empty one",
        )


@rule("TRN644")
def engine_of_another_version(model: Model, config: Any, repository: Layout, host: Host) -> Iterator[Fault]:
    """An engine is read by the TensorRT-LLM and the TensorRT that built it, on such a GPU, and by no other.

    Bad:
        backend: "tensorrtllm"
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "0.9.0", "pretrained_config": {"mapping": {"world_size": 1}}, "build_config": {}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "python"
    """
    folder, told = _whole(model, config, repository)
    if folder is None:
        return
    container = _container(folder, host)
    problem, remedy = _of_library(told["version"], container)
    if not problem:
        problem, remedy = _of_tensorrt(model, folder, container)
    if not problem:
        problem, remedy = _of_card(folder, host)
    if problem:
        yield _fault(model, folder / "config.json", f"the engine is {problem}", remedy)


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


@rule("TRN645", "warning")
def more_than_the_engine_takes(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """max_batch_size is no more than the engine's own: what is beyond waits inside, where no limit counts it.

    Bad:
        backend: "tensorrtllm"
        max_batch_size: 64
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {}}, "build_config": {"max_batch_size": 8}}
        == m/1/rank0.engine
        engine
    Good:
        backend: "tensorrtllm"
        max_batch_size: 8
        parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }
        == m/1/config.json
        {"version": "1.2.1", "pretrained_config": {"mapping": {}}, "build_config": {"max_batch_size": 8}}
        == m/1/rank0.engine
        engine
    """
    folder = _engine(model, config, repository)
    most = _number(_told(model, folder)[0], "build_config", "max_batch_size") if folder else None
    if most is not None and config.max_batch_size > most:
        yield Fault(
            ("max_batch_size",),
            f"{model.name} takes {config.max_batch_size} at once, its engine {most}",
            f"write max_batch_size: {most}, or build an engine that takes {config.max_batch_size}",
        )


@rule("TRN646")
def tokenizer_missing(model: Model, config: Any, repository: Layout) -> Iterator[Fault]:
    """The folder that tokenizer_dir names holds a tokenizer.

    Bad:
        backend: "python"
        parameters { key: "tokenizer_dir" value { string_value: "/models/m/1/tokenizer" } }
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    Good:
        backend: "python"
        parameters { key: "tokenizer_dir" value { string_value: "/models/m/1/tokenizer" } }
        == m/1/tokenizer/tokenizer.json
        {}
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    told = config.parameters["tokenizer_dir"].string_value if "tokenizer_dir" in config.parameters else ""
    folder = repository.find(told)
    if folder is not None and not any((folder / name).is_file() for name in _TOKENIZERS):
        what = "holds no tokenizer" if folder.is_dir() else "does not exist"
        yield Fault(
            ("parameters", Key("tokenizer_dir")),
            f"{told} {what}",
            f"copy the checkpoint's tokenizer there: one of {', '.join(sorted(_TOKENIZERS))}",
        )


def _way_to_it(model: Model, folder: Path) -> str:
    """Return how an engine that is not there gets there."""
    told = engine_file.record(folder.parent)
    if told and (folder.parent / engine_file.SCRIPT).is_file():
        script = f"{model.name}/{folder.parent.name}/{engine_file.SCRIPT}"
        return f"run `sh {script}` where Docker and a GPU of compute capability {told.get('compute')} are"
    return "name the folder that `trtllm-build` or `builder build` wrote, as the server sees it"


def _engine(model: Model, config: Any, repository: Layout) -> Path | None:
    """Return the folder of the model's engine, None where it is none of this repository's."""
    if model.backend != "tensorrtllm" or _ENGINE not in config.parameters:
        return None
    return repository.find(config.parameters[_ENGINE].string_value)


def _whole(model: Model, config: Any, repository: Layout) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the folder of the model's engine and its config.json, None where TRN641 or TRN642 tell of it."""
    folder = _engine(model, config, repository)
    told, problem = _told(model, folder) if folder else ({}, "")
    return (None, {}) if problem or engine_folder.misdescribed(told) else (folder, told)


def _told(model: Model, folder: Path) -> tuple[Mapping[str, Any], str]:
    """Return an engine's config.json, and what is wrong with it."""
    path = folder / "config.json"
    if not path.is_file():
        return {}, ""
    found, problem = reading.json_of(model.reachable(path))
    if not problem and not isinstance(found, dict):
        problem = "is no object"
    return {} if problem else found, problem


def _number(told: Any, *keys: str) -> int | None:
    for key in keys:
        told = told.get(key) if isinstance(told, dict) else None
    return told if isinstance(told, int) and 0 < told < 10_000 else None


def _release(version: str) -> str:
    """Return the major and minor number, by which engines are told apart."""
    return ".".join(version.split(".")[:2])


def _fault(model: Model, path: Path, message: str, remedy: str) -> Fault:
    return Fault((), message, remedy, file=os.path.relpath(path, model.path))
