"""TRN668, TRN670-671: what the cuda accelerator of an ONNX Runtime model is told.

Triton hands it to ONNX Runtime: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, Host, closest, rule
from builder.rules.onnx_accelerators import parameters
from builder.rules.onnx_options import CUDA_PARAMETERS, switch

# what Triton sets itself it sets over what is told here
_SET_BY_TRITON = ("device_id", "has_user_compute_stream", "user_compute_stream")
NAMES = (
    *CUDA_PARAMETERS,
    *_SET_BY_TRITON,
    "cudnn_conv1d_pad_to_nc1d",
    "cudnn_conv_use_max_workspace",
    "enable_cuda_graph",
    "enable_skip_layer_norm_strict_mode",
    "fuse_conv_bias",
    "gpu_external_alloc",
    "gpu_external_empty_cache",
    "gpu_external_free",
    "prefer_nhwc",
    "sdpa_kernel",
    "tunable_op_enable",
    "tunable_op_max_tuning_duration_ms",
    "tunable_op_tuning_enable",
    "use_ep_level_unified_stream",
    "use_tf32",
)
_SWITCHES = ("do_copy_in_default_stream", "use_ep_level_unified_stream")


@rule("TRN668")
def cuda_option_unknown(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A parameter of the cuda accelerator is an option of ONNX Runtime's CUDA provider, by its name there.

    Triton: Unknown provider option: "use_cuda_graph".
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "cuda"
          parameters { key: "use_cuda_graph" value: "1" }
        } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "cuda"
          parameters { key: "enable_cuda_graph" value: "1" }
        } } }
    """
    for field, name, _ in parameters(model, config, host, "cuda"):
        if name not in NAMES:
            meant = closest(name, NAMES)
            yield Fault(
                field,
                f'Unknown provider option: "{name}".',
                f"did you mean {meant}?" if meant else f"write one of {', '.join(sorted(NAMES))}",
                # a later ONNX Runtime may have more
                severity=None if meant else "warning",
            )


@rule("TRN670", "warning")
def cuda_option_overwritten(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An option of CUDA that the model's own parameters have too is told there: its default replaces it.

    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "cuda"
          parameters { key: "gpu_mem_limit" value: "4294967296" }
        } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        parameters { key: "gpu_mem_limit" value { string_value: "4294967296" } }
    """
    for field, name, _ in parameters(model, config, host, "cuda"):
        if name in CUDA_PARAMETERS:
            yield Fault(
                field,
                f"option '{name}' of accelerator 'cuda' never counts: Triton replaces it by the model's own "
                f"parameter '{name}', or by its default",
                f"write it as the model's own parameter '{name}'",
            )
        elif name in _SET_BY_TRITON:
            message = f"option '{name}' of accelerator 'cuda' never counts: Triton sets it for each instance"
            yield Fault(field, message, "remove it")


@rule("TRN671")
def cuda_option_value(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """The options of the cuda accelerator that Triton reads itself are true or false.

    Triton: failed to convert 'yes' to boolean
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "cuda"
          parameters { key: "use_ep_level_unified_stream" value: "yes" }
        } } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator {
          name: "cuda"
          parameters { key: "use_ep_level_unified_stream" value: "1" }
        } } }
    """
    for field, name, value in parameters(model, config, host, "cuda"):
        problem = switch(value) if name in _SWITCHES else None
        if problem is not None:
            yield Fault(field, f"{name}: {problem.text}", problem.remedy)
