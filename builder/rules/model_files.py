"""TRN65x: the file that a backend loads, in every served version. TRN621 tells that of Python models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.layout import Layout, Model
from builder.rule import Fault, rule

_FILES = {
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "tensorrt": ("model.plan",),
    "vllm": ("model.json",),
}

_CHECKPOINT = {"model": ("config.json",), "tokenizer": ("tokenizer.json", "tokenizer_config.json")}
"""What names a part of a checkpoint in model.json -> a file that is in such a folder."""

_OTHER = ("build.json", "config.json", "generation_config.json", "golden.json", "manifest.json")
"""What `builder build` lays beside it, and never is what a backend loads."""


@rule("TRN651")
def backend_file_missing(model: Model, config: Any) -> Iterator[Fault]:
    """Every served version holds the file that its backend loads, under the backend's name or the config's.

    Triton: unable to find 'model.onnx' for model instance 'm_0'
    Bad:
        backend: "onnxruntime"
        == m/1/resnet.onnx
    Good:
        backend: "onnxruntime"
        == m/1/model.onnx
    """
    names = _names(model, config)
    for version in model.served if names else ():
        folder = model.path / str(version)
        if model.backend == "tensorrt" and (folder / engine_file.RECORD).is_file():
            continue  # TRN681 says how it is built
        if folder.is_dir() and not any((folder / name).exists() for name in names):
            yield Fault(
                (),
                f"unable to find {' or '.join(names)} for model '{model.name}' in version {version}",
                _remedy(model, version, names),
                file=f"{version}/{names[0]}",
            )


@rule("TRN652")
def engine_arguments_unreadable(model: Model) -> Iterator[Fault]:
    """A vLLM model's model.json is a JSON object: the arguments of its engine.

    Bad:
        backend: "vllm"
        == m/1/model.json
        {"model": "org/name",}
    Good:
        backend: "vllm"
        == m/1/model.json
        {"model": "org/name"}
    """
    for version in model.served if model.backend == "vllm" else ():
        path = model.file(str(version), "model.json")
        problem = _problem(path) if path is not None else ""
        if problem:
            yield Fault((), f"model.json {problem}", "mend it", file=f"{version}/model.json")


@rule("TRN653")
def engine_checkpoint_missing(model: Model, repository: Layout) -> Iterator[Fault]:
    """What a vLLM model's model.json names in this repository is there, and in its own version.

    A version that was copied still names the one that it was copied from.
    Bad:
        backend: "vllm"
        == m/1/config.json
        {}
        == m/2/config.json
        {}
        == m/2/model.json
        {"model": "/models/m/1"}
    Good:
        backend: "vllm"
        == m/2/config.json
        {}
        == m/2/model.json
        {"model": "/models/m/2"}
    """
    for version, told in _told(model):
        for name, needed in _CHECKPOINT.items():
            folder = repository.find(str(told.get(name, "")))
            if folder is None:
                continue
            own = model.path / str(version)
            file = f"{version}/model.json"
            if not any((folder / one).is_file() for one in needed):
                message = f"{name} {told[name]}: there is no {' or '.join(needed)}"
                yield Fault((), message, "name the folder that holds the checkpoint", file=file)
            elif folder.is_relative_to(model.path) and not folder.is_relative_to(own):
                message = f"{name} {told[name]} is another version's than {version}"
                yield Fault((), message, f"name what lies in {model.name}/{version}", file=file)


@rule("TRN654")
def engine_gpus(model: Model, config: Any) -> Iterator[Fault]:
    """A vLLM model on several GPUs is of KIND_MODEL: vLLM takes them by itself.

    Triton: KIND_GPU is currently for single-GPU models, please specify KIND_MODEL in the model's config.pbtxt
        for multi-GPU models
    Bad:
        backend: "vllm"
        instance_group { kind: KIND_GPU gpus: 0 }
        == m/1/model.json
        {"model": "org/name", "tensor_parallel_size": 2}
    Good:
        backend: "vllm"
        instance_group { kind: KIND_MODEL }
        == m/1/model.json
        {"model": "org/name", "tensor_parallel_size": 2}
    """
    for version, told in _told(model):
        gpus = _count(told, "tensor_parallel_size") * _count(told, "pipeline_parallel_size")
        for place, group in enumerate(config.instance_group):
            if gpus > 1 and group.kind == group.KIND_GPU:
                yield Fault(
                    ("instance_group", place, "kind"),
                    f"KIND_GPU is for one GPU, and version {version} asks for {gpus}",
                    "write KIND_MODEL and no gpus",
                )


@rule("TRN655")
def engine_model_unnamed(model: Model) -> Iterator[Fault]:
    """A vLLM model's model.json says as `model` what the engine loads: a folder, or a name on Hugging Face.

    Where nothing is said, vLLM loads a model of its own choice.
    Bad:
        backend: "vllm"
        == m/1/model.json
        {"gpu_memory_utilization": 0.5}
    Good:
        backend: "vllm"
        == m/1/model.json
        {"model": "org/name", "gpu_memory_utilization": 0.5}
    """
    for version, told in _told(model):
        named = told.get("model")
        if not isinstance(named, str) or not named:
            message = f"model is {json.dumps(named)[:80]}" if "model" in told else "model.json names no model"
            remedy = 'write "model": a folder with a checkpoint, or ORG/NAME on Hugging Face'
            yield Fault((), message, remedy, file=f"{version}/model.json")


def _told(model: Model) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each served version of a vLLM model with the arguments of its engine, where they can be read."""
    for version in model.served if model.backend == "vllm" else ():
        path = model.file(str(version), "model.json")
        value = reading.json_of(path)[0] if path is not None else None
        if isinstance(value, dict):
            yield version, value


def _count(told: dict[str, Any], name: str) -> int:
    value = told.get(name, 1)
    return value if isinstance(value, int) and 0 < value < 10_000 else 1


def _names(model: Model, config: Any) -> tuple[str, ...]:
    backend = model.backend or str(config.platform).split("_")[0]
    if config.runtime or backend not in _FILES:
        return ()
    given = (config.default_model_filename, *config.cc_model_filenames.values())
    return tuple(name for name in given if name) or _FILES[backend]


def _remedy(model: Model, version: int, names: tuple[str, ...]) -> str:
    suffixes = {name.rpartition(".")[2] for name in names}
    there = sorted(path.name for path in (model.path / str(version)).iterdir() if path.name[0] != ".")
    like = [name for name in there if name.rpartition(".")[2] in suffixes and name not in _OTHER]
    if like:
        return f"rename {like[0]} to {names[0]}, or name it as default_model_filename"
    return f"put {names[0]} into {model.name}/{version}"


def _problem(path: Path) -> str:
    value, problem = reading.json_of(path)
    return problem or ("" if isinstance(value, dict) else "holds no JSON object")
