"""TRN666-667: what the tensorrt accelerator of an ONNX Runtime model is told.

Source: onnxruntime_backend/README.md and src/onnxruntime.cc, ModelState::LoadModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from builder.layout import Model
from builder.rule import Fault, Host, closest, rule
from builder.rules.onnx_accelerators import parameters
from builder.rules.onnx_options import Problem, Reader, switch, whole

_WHOLE = (
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dla_core",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_ep_context_embed_mode",
)
_SWITCHES = (
    "int8_use_native_calibration_table",
    "trt_dla_enable",
    "trt_engine_cache_enable",
    "trt_dump_subgraphs",
    "trt_force_sequential_engine_build",
    "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable",
    "trt_force_timing_cache",
    "trt_detailed_build_log",
    "trt_build_heuristics_enable",
    "trt_sparsity_enable",
    "trt_cuda_graph_enable",
    "trt_dump_ep_context_model",
)
_TEXTS = (
    "precision_mode",
    "int8_calibration_table_name",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_timing_cache_path",
    "trt_tactic_sources",
    "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes",
    "trt_profile_max_shapes",
    "trt_profile_opt_shapes",
    "trt_ep_context_file_path",
)
_READERS: Mapping[str, Reader] = {
    "max_workspace_size_bytes": partial(whole, kind="unsigned long long integral number", bits=64),
    **dict.fromkeys(_WHOLE, whole),
    **dict.fromkeys(_SWITCHES, switch),
}
NAMES = (*_READERS, *_TEXTS)
_PRECISIONS = {"FP32": "", "FP16": "", "BF16": "26.02", "INT8": ""}
"""Precision -> the first release that knows it, where that is not the oldest."""

# by their names in ONNX Runtime
_MEANT = {
    "trt_max_workspace_size": "max_workspace_size_bytes",
    "trt_int8_calibration_table_name": "int8_calibration_table_name",
    "trt_int8_use_native_calibration_table": "int8_use_native_calibration_table",
    "trt_fp16_enable": 'precision_mode, with "FP16"',
    "trt_bf16_enable": 'precision_mode, with "BF16"',
    "trt_int8_enable": 'precision_mode, with "INT8"',
}


@rule("TRN666")
def tensorrt_parameter_unknown(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A parameter of the tensorrt accelerator has the name that Triton gives it, not that of ONNX Runtime.

    Triton: unknown parameter 'trt_fp16_enable' is provided for TensorRT Execution Accelerator
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "tensorrt"
          parameters { key: "trt_fp16_enable" value: "1" }
        } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "tensorrt"
          parameters { key: "precision_mode" value: "FP16" }
        } } }
    """
    for field, name, _ in parameters(model, config, host, "tensorrt"):
        if name not in NAMES:
            meant = _MEANT.get(name, closest(name, NAMES))
            yield Fault(
                field,
                f"unknown parameter '{name}' is provided for TensorRT Execution Accelerator",
                f"did you mean {meant}?" if meant else f"write one of {', '.join(sorted(NAMES))}",
            )


@rule("TRN667")
def tensorrt_parameter_value(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """The values of the tensorrt accelerator's parameters can be read, and precision_mode is one that it has.

    BF16 it has from 26.02 on.

    Triton: unsupported precision mode 'fp16' is requested
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "tensorrt"
          parameters { key: "precision_mode" value: "fp16" }
        } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "tensorrt"
          parameters { key: "precision_mode" value: "FP16" }
        } } }
    """
    readers: dict[str, Reader] = {**_READERS, "precision_mode": partial(_precision, host=host)}
    for field, name, value in parameters(model, config, host, "tensorrt"):
        problem = readers[name](value) if name in readers else None
        if problem is not None:
            yield Fault(field, f"{name}: {problem.text}", problem.remedy, severity=problem.severity)


def _precision(value: str, host: Host) -> Problem | None:
    known = [name for name, since in _PRECISIONS.items() if not since or host.has(since)]
    if value in known:
        return None
    since = _PRECISIONS.get(value)
    told = f"unsupported precision mode '{value}' is requested"
    if since:
        return Problem(
            f"{told}: {host.triton} does not know it", f"serve it by {since} or later, or write FP16"
        )
    return Problem(told, f"write one of {', '.join(known)}")
