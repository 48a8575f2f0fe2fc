"""Which execution providers run the graph: of `execution_accelerators`, and of parameters for CUDA.

NVIDIA's onnxruntime_backend, src/onnxruntime.cc, ModelState::LoadModel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.onnxruntime.values import Refused, one_of, switch, whole

Providers = tuple[tuple[str, Mapping[str, str]], ...]
CPU: Providers = (("CPUExecutionProvider", {}),)

_TENSORRT_WHOLE = (
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dla_core",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_ep_context_embed_mode",
)
_TENSORRT_SWITCHES = (
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
_TENSORRT_TEXTS = (
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
_TENSORRT: dict[str, Callable[[str], object]] = {
    "max_workspace_size_bytes": lambda told: whole(told, "unsigned long long integral number"),
    **dict.fromkeys(_TENSORRT_WHOLE, whole),
    **dict.fromkeys(_TENSORRT_SWITCHES, switch),
    **dict.fromkeys(_TENSORRT_TEXTS, str),
}
_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_CUDA_SWITCHES = ("do_copy_in_default_stream", "use_ep_level_unified_stream")
_ALGORITHMS = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
_STRATEGIES = ("kNextPowerOfTwo", "kSameAsRequested")


def providers(told: Mapping[str, Any], parameters: Mapping[str, str], kind: str, device: str) -> Providers:
    """Return (name, options) of each, the first choice first; the CPU takes what is left of a graph."""
    found: list[tuple[str, Mapping[str, str]]] = []
    if kind == "GPU":
        found += _of_gpu(told.get("gpu_execution_accelerator", ()), parameters, device)
    for one in told.get("cpu_execution_accelerator", ()):
        if one["name"] != "openvino":
            raise _unknown(one)
        # its parameters are ignored, as in the C++ backend
        found.append(("OpenVINOExecutionProvider", {"device_type": "CPU"}))
    return (*found, *CPU)


def _of_gpu(
    accelerators: Sequence[Mapping[str, Any]], parameters: Mapping[str, str], device: str
) -> list[tuple[str, Mapping[str, str]]]:
    found = []
    cuda: dict[str, str] = {}
    for one in accelerators:
        told = one.get("parameters") or {}
        if one["name"] == "tensorrt":
            found.append(("TensorrtExecutionProvider", {**_tensorrt(told), "device_id": device}))
        elif one["name"] == "cuda":
            cuda |= _cuda(told)
        else:
            raise _unknown(one)
    return [*found, ("CUDAExecutionProvider", {**cuda, **_deprecated(parameters), "device_id": device})]


def _unknown(accelerator: Mapping[str, Any]) -> Refused:
    return Refused(f"unknown Execution Accelerator '{accelerator['name']}' is requested")


def _tensorrt(told: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in told.items():
        if name == "precision_mode":
            found |= _precision(value)
        elif name in _TENSORRT:
            _TENSORRT[name](value)
            found |= {_RENAMED.get(name, name): value} if value else {}
        else:
            raise Refused(f"unknown parameter '{name}' is provided for TensorRT Execution Accelerator")
    return found


def _precision(mode: str) -> dict[str, str]:
    if mode not in ("FP32", "FP16", "BF16", "INT8"):
        raise Refused(f"unsupported precision mode '{mode}' is requested")
    return {} if mode == "FP32" else {f"trt_{mode.lower()}_enable": "1"}


def _cuda(told: Mapping[str, str]) -> dict[str, str]:
    for name in _CUDA_SWITCHES:
        if name in told:
            switch(told[name])
    return {name: value for name, value in told.items() if value}


def _deprecated(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return what a model's own parameters say of CUDA: they win, as in the C++ backend."""
    found = {
        name: parameters[name]
        for name in ("gpu_mem_limit", "do_copy_in_default_stream")
        if name in parameters
    }
    if "cudnn_conv_algo_search" in parameters:
        found["cudnn_conv_algo_search"] = one_of("cudnn_conv_algo_search", parameters, _ALGORITHMS)
    if "arena_extend_strategy" in parameters:
        found["arena_extend_strategy"] = one_of("arena_extend_strategy", parameters, _STRATEGIES)
    return found
