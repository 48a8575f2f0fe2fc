"""TRN665, TRN669: who computes the parts of an ONNX graph.

Source: onnxruntime_backend/src/onnxruntime.cc, ModelState::LoadModel. Their options are in onnx_tensorrt.py
and onnx_cuda.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, Host, closest, rule
from builder.rules.onnx_files import is_onnx
from builder.rules.onnx_options import CUDA_PARAMETERS, may_run_on_gpu, told
from builder.textproto import Key, Path

_OF_GPU, _OF_CPU = "gpu_execution_accelerator", "cpu_execution_accelerator"
NAMES = {_OF_GPU: ("tensorrt", "cuda"), _OF_CPU: ("openvino",)}


def accelerators(model: Model, config: Any, host: Host, name: str = "") -> Iterator[tuple[Path, str, Any]]:
    """Yield (field, kind, accelerator) of those that count where the model runs; those of a GPU by name."""
    for kind in (_OF_GPU, _OF_CPU) if is_onnx(model) else ():
        if kind == _OF_GPU and not may_run_on_gpu(config, host):
            continue
        for place, one in enumerate(getattr(config.optimization.execution_accelerators, kind)):
            if not name or (one.name == name and kind == _OF_GPU):
                yield ("optimization", "execution_accelerators", kind, place), kind, one


def parameters(model: Model, config: Any, host: Host, name: str) -> Iterator[tuple[Path, str, str]]:
    """Yield (field, name, value) of each parameter of a GPU's accelerators of one name."""
    for field, _, one in accelerators(model, config, host, name):
        for parameter, value in sorted(one.parameters.items()):
            yield (*field, "parameters", Key(parameter)), parameter, value


@rule("TRN665")
def accelerator_unknown(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An accelerator of an ONNX Runtime model is one that its backend has: tensorrt and cuda, or openvino.

    Triton: unknown Execution Accelerator 'trt' is requested
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator { name: "trt" } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }
    """
    for field, kind, one in accelerators(model, config, host):
        if one.name in NAMES[kind]:
            continue
        other = _OF_CPU if kind == _OF_GPU else _OF_GPU
        meant = "tensorrt" if one.name == "trt" else closest(one.name.lower(), NAMES[kind])
        remedy = f"write one of {', '.join(NAMES[kind])}"
        if one.name in NAMES[other]:
            remedy = f"write it under {other}"
        elif meant:
            remedy = f"did you mean {meant}?"
        yield Fault((*field, "name"), f"unknown Execution Accelerator '{one.name}' is requested", remedy)


@rule("TRN669", "warning")
def accelerator_unused(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """What is told to an accelerator reaches one: a GPU's counts on KIND_GPU, and openvino is told nothing.

    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_CPU }
        optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_CPU }
        optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }
    """
    if not is_onnx(model):
        return
    home: Path = ("optimization", "execution_accelerators")
    asked = config.optimization.execution_accelerators
    if not may_run_on_gpu(config, host):
        unused: list[tuple[Path, str]] = [
            ((*home, _OF_GPU, place), f"accelerator '{one.name}'")
            for place, one in enumerate(asked.gpu_execution_accelerator)
        ]
        ours = [name for name in told(config) if name in CUDA_PARAMETERS]
        for field, what in [*unused, *((("parameters", Key(name)), f"parameter '{name}'") for name in ours)]:
            yield Fault(
                field,
                f"{what} of {model.name} is skipped without a word: no instance is on a GPU",
                "write kind: KIND_GPU, or remove it",
            )
    for place, one in enumerate(asked.cpu_execution_accelerator):
        for name in sorted(one.parameters) if one.name == "openvino" else ():
            yield Fault(
                (*home, _OF_CPU, place, "parameters", Key(name)),
                f"parameter '{name}' of accelerator 'openvino' is ignored: Triton tells it nothing",
                "remove it",
            )
