"""TRN11x: who a model is. Triton: ValidateModelConfig and AutoCompleteBackendFields in core/src."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.completion import guessed_backend
from builder.layout import Model
from builder.rule import Fault, rule

_PAIRS = {
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
    "tensorflow": ("tensorflow_graphdef", "tensorflow_savedmodel"),
}
_PLATFORMS = {platform: backend for backend, platforms in _PAIRS.items() for platform in platforms}


@rule("TRN111")
def name_mismatch(model: Model, config: Any) -> Iterator[Fault]:
    """A name in the config is the folder's.

    Triton: unexpected directory name 'm' for model 'other', directory name must equal model name
    Bad:
        name: "other"
    Good:
        name: "m"
    """
    if config.name not in ("", model.name):
        yield Fault(
            ("name",),
            f"unexpected directory name '{model.name}' for model '{config.name}', "
            "directory name must equal model name",
            f'write name: "{model.name}" or leave the name out; else rename the folder',
        )


@rule("TRN112")
def no_backend(model: Model, config: Any) -> Iterator[Fault]:
    """A config names its backend, or a version folder holds a file that tells it.

    Triton: Invalid model name: Could not determine backend for model 'm' with no backend in model
        configuration.
    Bad:
        # no backend
        max_batch_size: 8
        == m/1/weights.bin
    Good:
        # no backend, but a model.py
        max_batch_size: 8
        == m/1/model.py
    """
    if not (config.backend or config.platform or guessed_backend(model)):
        yield Fault(
            (),
            f"Invalid model name: Could not determine backend for model '{model.name}' "
            "with no backend in model configuration",
            'add `backend: "python"`, or `platform: "ensemble"` for an ensemble',
        )


@rule("TRN113")
def platform_unknown(model: Model, config: Any) -> Iterator[Fault]:
    """A platform without a backend is one that Triton knows.

    Triton: unexpected platform type 'onnx' for m
    Bad:
        platform: "onnx"
        == m/1/model.onnx
    Good:
        backend: "python"
    """
    known = {"ensemble", *_PLATFORMS}
    if config.platform and not config.backend and config.platform not in known:
        yield Fault(
            ("platform",),
            f"unexpected platform type '{config.platform}' for {model.name}",
            "write `backend: ` with the backend's name instead",
        )


@rule("TRN114")
def ensemble_with_backend(model: Model, config: Any) -> Iterator[Fault]:
    """An ensemble has the platform "ensemble" and no backend.

    Triton: Ensemble model 'm' must have platform type 'ensemble' and empty backend type
    Bad:
        platform: "ensemble"
        backend: "python"
        ensemble_scheduling { }
    Good:
        backend: "python"
    """
    if config.backend and (config.platform == "ensemble" or config.HasField("ensemble_scheduling")):
        yield Fault(
            ("backend",),
            f"Ensemble model '{model.name}' must have platform type 'ensemble' and empty backend type",
            "remove `backend`, or `ensemble_scheduling` from a model that is no ensemble",
        )


@rule("TRN115")
def platform_of_another_backend(model: Model, config: Any) -> Iterator[Fault]:
    """A platform and a backend that stand together belong together.

    Triton: unexpected 'platform' and 'backend' pair, got:onnxruntime_onnx, tensorrt
    Bad:
        platform: "onnxruntime_onnx"
        backend: "tensorrt"
        == m/1/model.plan
    Good:
        backend: "python"
        platform: "anything"
    """
    fits = _PAIRS.get(config.backend)
    mine = _PLATFORMS.get(config.platform)
    wrong = (fits and config.platform not in fits) or (
        mine and config.backend in _PAIRS and mine != config.backend
    )
    if config.platform and config.backend and wrong:
        yield Fault(
            ("platform",),
            f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}",
            "remove `platform`: the backend is enough",
        )


@rule("TRN116")
def max_batch_size_negative(model: Model, config: Any) -> Iterator[Fault]:
    """max_batch_size is 0, for no batching, or more.

    Triton: 'max_batch_size' must be non-negative value for m
    Bad:
        max_batch_size: -1
    Good:
        max_batch_size: 0
    """
    if config.max_batch_size < 0:
        yield Fault(
            ("max_batch_size",),
            f"'max_batch_size' must be non-negative value for {model.name}: it is {config.max_batch_size}",
            "write 0 for a model that does not batch",
        )
