"""TRN65x: the file that a backend loads, in every served version. TRN621 tells that of Python models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.layout import Model
from builder.rule import Fault, rule

_FILES = {
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "tensorrt": ("model.plan",),
    "vllm": ("model.json",),
}


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


def _names(model: Model, config: Any) -> tuple[str, ...]:
    backend = model.backend or str(config.platform).split("_")[0]
    if config.runtime or backend not in _FILES:
        return ()
    given = (config.default_model_filename, *config.cc_model_filenames.values())
    return tuple(name for name in given if name) or _FILES[backend]


def _remedy(model: Model, version: int, names: tuple[str, ...]) -> str:
    suffixes = {name.rpartition(".")[2] for name in names}
    there = sorted(path.name for path in (model.path / str(version)).iterdir() if path.name[0] != ".")
    like = [name for name in there if name.rpartition(".")[2] in suffixes]
    if like:
        return f"rename {like[0]} to {names[0]}, or name it as default_model_filename"
    return f"put {names[0]} into {model.name}/{version}"


def _problem(path: Path) -> str:
    value, problem = reading.json_of(path)
    return problem or ("" if isinstance(value, dict) else "holds no JSON object")
