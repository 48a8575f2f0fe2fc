"""TRN41x: the library that runs a model. Triton: core/src/backend_model.cc, backend_manager.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.deploying import images
from builder.layout import Model
from builder.rule import Fault, Host, closest, rule

KNOWN = frozenset(
    (
        "dali",
        "fil",
        "identity",
        "onnxruntime",
        "openvino",
        "python",
        "pytorch",
        "repeat",
        "square",
        "tensorflow",
        "tensorrt",
        "tensorrtllm",
        "vllm",
    )
)
"""The backends of NVIDIA's containers, each in some of them."""

_MEANT = {
    "onnx": "onnxruntime",
    "ort": "onnxruntime",
    "tensorrt_llm": "tensorrtllm",
    "tensorrt-llm": "tensorrtllm",
    "trt": "tensorrt",
    "tf": "tensorflow",
    "torch": "pytorch",
    "libtorch": "pytorch",
}
_TENSORFLOW_LEFT = "25.03"

_BY_FILE = {
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.py": "python",
}
"""What Triton takes for the backend where a config names neither that nor a platform, the first that is there
(core/src/model_config_utils.cc, AutoCompleteBackendFields)."""


UNKNOWN = "TRN411"


@rule(UNKNOWN)
def backend_unknown(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A backend is one that the server has, or comes in the model's own folder.

    Triton: unable to find backend library for backend 'pyton', try specifying runtime on the model
        configuration.
    Bad:
        backend: "pyton"
        == m/1/model.py
    Good:
        backend: "python"
        == m/1/model.py
    """
    name = config.backend or _by_file(model, config)
    if not name or name in (KNOWN if host.backends is None else host.backends) or _brings_its_own(model):
        return
    known = KNOWN if host.backends is None else host.backends
    meant = _MEANT.get(name, closest(name, known))
    has = "NVIDIA's containers have none of that name"
    if host.backends is not None:
        has = f"the server has {', '.join(sorted(host.backends))}"
    yield Fault(
        ("backend",),
        f"unable to find backend library for backend '{name}', try specifying runtime on the model "
        f"configuration: {has}",
        f"did you mean {meant}?" if meant in known else _remedy(name),
        # a name of its own may be that of somebody's own backend
        severity="warning" if host.backends is None and not meant else None,
    )


@rule("TRN413", "warning")
def backend_gone(config: Any, host: Host) -> Iterator[Fault]:
    """A model asks for no backend that the containers of this release no longer hold.

    TensorFlow's left them with 25.03.
    """
    asked = config.backend or str(config.platform).split("_")[0]
    if asked == "tensorflow" and host.has(_TENSORFLOW_LEFT):
        yield Fault(
            ("backend",) if config.backend else ("platform",),
            f"NVIDIA's containers hold no tensorflow backend since {_TENSORFLOW_LEFT}",
            "export the model to ONNX, or serve it by an earlier release",
        )


@rule("TRN412")
def runtime_escapes(model: Model, config: Any) -> Iterator[Fault]:
    """A runtime is a file name, not a path.

    Triton: unable to find backend library '../libtriton_python.so' for model 'm'
    Bad:
        backend: "python"
        runtime: "../libtriton_python.so"
    Good:
        backend: "python"
    """
    if "/" in config.runtime or config.runtime in ("..", "."):
        yield Fault(
            ("runtime",),
            f"backend library name '{config.runtime}' escapes backend directory",
            "write the file's name alone",
        )


def _by_file(model: Model, config: Any) -> str:
    if config.platform or not model.served:
        return ""
    folder = model.path / str(model.served[0])
    return next((name for file, name in _BY_FILE.items() if (folder / file).exists()), "")


def _remedy(name: str) -> str:
    if name in KNOWN:
        alone = images.of_backend(name)
        where = f"the {name} backend, {alone}: builder deploy compose" if alone else f"the {name} backend"
        return f"serve it in the container of NVIDIA's that has {where}"
    return "put the backend into the model's folder, or where the server looks (--backend-directory)"


def _brings_its_own(model: Model) -> bool:
    name = model.config.runtime or f"libtriton_{model.config.backend or _by_file(model, model.config)}.so"
    places = [model.path, *(model.path / str(version) for version in model.served)]
    return any((place / name).is_file() for place in places)
