"""What a config says to ONNX Runtime, and each refusal in the words of NVIDIA's backend."""

from __future__ import annotations

from typing import Any

import pytest

from backends.onnxruntime.options import Options, read
from backends.onnxruntime.values import Refused

CPU = ("CPUExecutionProvider", {})
SHRINK = "memory.enable_memory_arena_shrinkage"
ALLOCATOR = "session.use_device_allocator_for_initializers"


def config(**parameters: str) -> dict[str, Any]:
    return {"parameters": {name: {"string_value": value} for name, value in parameters.items()}}


def accelerated(kind: str, name: str, **parameters: str) -> dict[str, Any]:
    """Return a config with one accelerator for `kind`, cpu or gpu."""
    one = {"name": name, "parameters": parameters}
    return {"optimization": {"execution_accelerators": {f"{kind}_execution_accelerator": [one]}}}


@pytest.mark.parametrize(
    "told", [{}, {"parameters": {}, "optimization": None}, {"optimization": {"graph": {}}}]
)
def test_nothing_told_is_onnx_runtime_as_it_comes(told: dict[str, Any]) -> None:
    assert read(told, "CPU", "") == Options()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"intra_op_thread_count": "3"}, Options(intra_op_threads=3)),
        ({"intra_op_thread_count": " 3 threads"}, Options(intra_op_threads=3)),
        ({"intra_op_thread_count": "-1", "inter_op_thread_count": "0"}, Options()),
        ({"inter_op_thread_count": "2", "execution_mode": "1"}, Options(inter_op_threads=2, parallel=True)),
        ({"execution_mode": "0"}, Options()),
        ({"enable_mem_arena": "OFF", "enable_mem_pattern": "On"}, Options(memory_arena=False)),
        ({"enable_mem_arena": "1", "enable_mem_pattern": "false"}, Options(memory_pattern=False)),
        ({"enable_mem_arena": "0", "enable_mem_pattern": "TRUE"}, Options(memory_arena=False)),
        ({SHRINK: "cpu:0"}, Options(run_entries={SHRINK: "cpu:0"})),
        ({ALLOCATOR: "1"}, Options(entries={ALLOCATOR: "1"})),
        ({"something_else": "x"}, Options()),
    ],
)
def test_parameters(parameters: dict[str, str], expected: Options) -> None:
    assert read(config(**parameters), "CPU", "") == expected


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"intra_op_thread_count": "many"}, "failed to convert 'many' to integral number"),
        ({"inter_op_thread_count": ""}, "failed to convert '' to integral number"),
        ({"execution_mode": "parallel"}, "failed to convert 'parallel' to integral number"),
        (
            {"execution_mode": "2"},
            "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 "
            "but got 2 .",
        ),
        ({"enable_mem_arena": "Yes"}, "failed to convert 'Yes' to boolean"),
        ({"enable_mem_pattern": ""}, "failed to convert '' to boolean"),
    ],
)
def test_parameters_that_cannot_be_read(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(Refused) as refusal:
        read(config(**parameters), "CPU", "")
    assert str(refusal.value) == words


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (-1, "ORT_ENABLE_BASIC"),
        (0, "ORT_ENABLE_ALL"),
        (1, "ORT_ENABLE_EXTENDED"),
        (2, "ORT_DISABLE_ALL"),
        (7, "ORT_ENABLE_ALL"),
    ],
)
def test_graph_level(level: int, name: str) -> None:
    assert read({"optimization": {"graph": {"level": level}}}, "CPU", "").graph_level == name


def test_operators_of_its_own() -> None:
    told = {"model_operations": {"op_library_filename": ["/a.so", "/b.so"]}}
    assert read(told, "CPU", "").operators == ("/a.so", "/b.so")


def test_accelerators_of_the_gpu_are_skipped_on_the_cpu() -> None:
    assert read(accelerated("gpu", "nonsense"), "CPU", "").providers == (CPU,)
    assert read(accelerated("gpu", "nonsense"), "MODEL", "").providers == (CPU,)


def test_openvino_takes_no_parameters() -> None:
    found = read(accelerated("cpu", "openvino", num_of_threads="4"), "CPU", "").providers
    assert found == (("OpenVINOExecutionProvider", {"device_type": "CPU"}), CPU)


def test_cuda_comes_after_tensorrt_and_a_parameter_wins() -> None:
    told = accelerated("gpu", "cuda", gpu_mem_limit="1", tunable_op_enable="1", empty="")
    told["optimization"]["execution_accelerators"]["gpu_execution_accelerator"].insert(
        0, {"name": "tensorrt"}
    )
    told |= config(gpu_mem_limit="2", cudnn_conv_algo_search="1", arena_extend_strategy="1")
    assert read(told, "GPU", "3").providers == (
        ("TensorrtExecutionProvider", {"device_id": "3"}),
        (
            "CUDAExecutionProvider",
            {
                "gpu_mem_limit": "2",
                "tunable_op_enable": "1",
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
                "device_id": "3",
            },
        ),
        CPU,
    )


def test_tensorrt_has_names_of_its_own() -> None:
    told = accelerated(
        "gpu",
        "tensorrt",
        precision_mode="FP16",
        max_workspace_size_bytes="1024",
        int8_calibration_table_name="table",
        int8_use_native_calibration_table="1",
        trt_engine_cache_enable="true",
        trt_builder_optimization_level="4",
        trt_engine_cache_path="",
    )
    assert dict(read(told, "GPU", "0").providers)["TensorrtExecutionProvider"] == {
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "1024",
        "trt_int8_calibration_table_name": "table",
        "trt_int8_use_native_calibration_table": "1",
        "trt_engine_cache_enable": "true",
        "trt_builder_optimization_level": "4",
        "device_id": "0",
    }


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (accelerated("cpu", "xnnpack"), "unknown Execution Accelerator 'xnnpack' is requested"),
        (accelerated("gpu", "rocm"), "unknown Execution Accelerator 'rocm' is requested"),
        (
            accelerated("gpu", "tensorrt", precision_mode="FP8"),
            "unsupported precision mode 'FP8' is requested",
        ),
        (
            accelerated("gpu", "tensorrt", trt_nonsense="1"),
            "unknown parameter 'trt_nonsense' is provided for TensorRT Execution Accelerator",
        ),
        (
            accelerated("gpu", "tensorrt", max_workspace_size_bytes="much"),
            "failed to convert 'much' to unsigned long long integral number",
        ),
        (accelerated("gpu", "tensorrt", trt_dla_enable="2"), "failed to convert '2' to boolean"),
        (accelerated("gpu", "cuda", do_copy_in_default_stream="x"), "failed to convert 'x' to boolean"),
        (config(cudnn_conv_algo_search="3"), "unsupported cudnn_conv_algo_search value '3' is requested"),
        (config(arena_extend_strategy="-1"), "unsupported arena_extend_strategy value '-1' is requested"),
    ],
)
def test_accelerators_that_are_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refusal:
        read(told, "GPU", "0")
    assert str(refusal.value) == words
