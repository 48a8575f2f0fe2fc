"""What a config tells NVIDIA's onnxruntime backend besides the tensors; our own reads the same of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from workbench import examples

from backends.onnxruntime import accelerators, options
from backends.onnxruntime.values import Refused
from builder import layout, model_config, recipe, subjects
from builder.check import Choice, check
from builder.finding import Finding
from builder.plan import Options, plan
from builder.rule import Host
from builder.rules import onnx_accelerators, onnx_options, onnx_tensorrt

OLD, NEW = Host("24.10"), Host("26.08")
ONLY = Choice(("TRN66", "TRN67", "TRN706"))
GPU, CPU = "instance_group { kind: KIND_GPU }\n", "instance_group { kind: KIND_CPU }\n"
SHRINKAGE = "memory.enable_memory_arena_shrinkage"


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def accelerator(name: str, kind: str = "gpu", **parameters: str) -> str:
    told = "".join(f'parameters {{ key: "{key}" value: "{value}" }}\n' for key, value in parameters.items())
    named = f'{kind}_execution_accelerator {{ name: "{name}"\n{told}}}'
    return f"optimization {{ execution_accelerators {{ {named} }} }}\n"


def found(folder: Path, config: str, host: Host = NEW) -> list[Finding]:
    """Return what the rules say of a model whose graph hands on X as Y."""
    examples.write(f'backend: "onnxruntime"\n{config}', folder)
    return check(folder, host=host, choice=ONLY)


def codes(findings: Iterable[Finding]) -> list[str]:
    return [one.code for one in findings]


def refused(folder: Path, kind: str) -> str:
    """Return why our own backend refuses the model that `found` wrote, "" where it takes it."""
    config = layout.read(folder).models["m"].config
    whole = json.loads(json_format.MessageToJson(config, preserving_proto_field_name=True))
    try:
        options.read(whole, kind, "0")
    except Refused as refusal:
        return str(refusal)
    return ""


VALUES = [
    ("intra_op_thread_count", "many", "error"),
    ("intra_op_thread_count", "4", ""),
    ("intra_op_thread_count", " -1", ""),
    ("inter_op_thread_count", "", "error"),
    ("inter_op_thread_count", "0x", "warning"),
    ("execution_mode", "parallel", "error"),
    ("execution_mode", "1", ""),
    ("enable_mem_arena", "OFF", ""),
    ("enable_mem_arena", "yes", "error"),
    ("enable_mem_pattern", "2", "error"),
    ("enable_mem_pattern", "True", ""),
]


@pytest.mark.parametrize(("name", "value", "severity"), VALUES)
def test_values_are_read_as_our_backend_reads_them(
    tmp_path: Path, name: str, value: str, severity: str
) -> None:
    told = found(tmp_path, CPU + parameter(name, value))
    assert [(one.code, one.severity, one.line) for one in told] == (
        [("TRN661", severity, 3)] if severity else []
    )
    refusal = refused(tmp_path, "CPU")
    assert bool(refusal) == (severity == "error")
    assert refusal in "".join(one.message for one in told)


@pytest.mark.parametrize("value", ["2147483648", "-99999999999", "9" * 5000])
def test_a_number_that_ends_the_server(tmp_path: Path, value: str) -> None:
    (one,) = found(tmp_path, parameter("intra_op_thread_count", value))
    assert (one.code, one.severity) == ("TRN661", "fatal")
    assert len(one.message) < 200


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("execution_mode", "2", "CPU"),
        ("execution_mode", "-1", "CPU"),
        ("cudnn_conv_algo_search", "3", "GPU"),
        ("arena_extend_strategy", "2", "GPU"),
    ],
)
def test_choices_that_there_are_not(tmp_path: Path, name: str, value: str, kind: str) -> None:
    (one,) = found(tmp_path, f"instance_group {{ kind: KIND_{kind} }}\n" + parameter(name, value))
    assert (one.code, one.severity, one.line) == ("TRN662", "error", 3)
    assert one.message == refused(tmp_path, kind)


def test_parameters_of_cuda_are_not_read_for_a_cpu(tmp_path: Path) -> None:
    (one,) = found(tmp_path, CPU + parameter("arena_extend_strategy", "many"))
    assert (one.code, one.line) == ("TRN669", 3)
    assert refused(tmp_path, "CPU") == ""
    (one,) = found(tmp_path, GPU + parameter("arena_extend_strategy", "many"))
    assert (one.code, one.line) == ("TRN661", 3)


@pytest.mark.parametrize(
    ("group", "gpus", "unused"),
    [(CPU, None, True), (GPU, None, False), ("", None, False), ("", 0, True), ("", 1, False)],
)
def test_what_is_for_a_gpu_needs_an_instance_on_one(
    tmp_path: Path, group: str, gpus: int | None, unused: bool
) -> None:
    told = found(tmp_path, group + accelerator("tensorrt"), Host("26.08", gpus))
    assert codes(told) == (["TRN669"] if unused else [])


def test_every_parameter_that_our_backend_reads_is_known(tmp_path: Path) -> None:
    names = {*onnx_options.PARAMETERS, "TRITON_BATCH_STRATEGY_PATH"}
    source = "".join(Path(module.__file__ or "").read_text() for module in (options, accelerators))
    ours = {name for name in names if f'"{name}"' in source}
    assert ours == {*onnx_options.PARAMETERS}
    values = {**dict.fromkeys(ours, "1"), SHRINKAGE: "cpu:0"}
    text = "".join(parameter(name, value) for name, value in sorted(values.items()))
    for host in (OLD, NEW):
        assert found(tmp_path, GPU + text, host) == []


def test_an_ignored_parameter_and_the_one_that_is_meant(tmp_path: Path) -> None:
    one, other = found(tmp_path, CPU + parameter("enable_mem_arenas", "1") + parameter("owner", "me"))
    assert (one.code, one.line, one.remedy) == ("TRN706", 3, "did you mean enable_mem_arena?")
    assert (other.code, other.line, other.remedy) == ("TRN706", 4, "write one of these, or remove it")
    assert all(name in other.message for name in onnx_options.PARAMETERS)
    strategy = parameter("TRITON_BATCH_STRATEGY_PATH", "/lib.so") + parameter("MAX_BATCH_VOLUME_BYTES", "96")
    assert found(tmp_path, strategy) == []


@pytest.mark.parametrize(
    ("asked", "config", "is_found"),
    [
        ("cpu:0", CPU, False),
        ("", CPU, False),
        ("cpu:0;gpu:0", GPU, False),
        ("gpu:0", GPU, False),
        ("gpu:0", CPU, True),
        ("1", CPU, True),
        ("cpu:x", CPU, True),
        ("cpu:0", CPU + parameter("enable_mem_arena", "off"), True),
    ],
)
def test_arenas_that_shrink(tmp_path: Path, asked: str, config: str, is_found: bool) -> None:
    told = found(tmp_path, config + parameter(SHRINKAGE, asked))
    assert codes(told) == ["TRN663"] * is_found
    if "GPU" not in config:
        assert bool(_run(config, asked)) == is_found


def _run(config: str, asked: str) -> str:
    """Return why ONNX Runtime fails a run of the graph, "" where it does not."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.SessionOptions()
    session.enable_cpu_mem_arena = "off" not in config
    session.log_severity_level = 4
    run = onnxruntime.RunOptions()
    run.add_run_config_entry(SHRINKAGE, asked)
    try:
        onnxruntime.InferenceSession(examples.ONNX, session).run(None, {"X": np.ones(4, np.float32)}, run)
    except Exception as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("level", "is_found"), [(-2, True), (-1, False), (0, False), (2, False), (3, True)])
def test_levels(tmp_path: Path, level: int, is_found: bool) -> None:
    told = found(tmp_path, f"optimization {{ graph {{ level: {level} }} }}")
    assert [(one.code, one.severity) for one in told] == [("TRN664", "warning")] * is_found


@pytest.mark.parametrize(
    ("name", "kind", "remedy"),
    [
        ("TensorRT", "gpu", "did you mean tensorrt?"),
        ("trt", "gpu", "did you mean tensorrt?"),
        ("openvino", "gpu", "write it under cpu_execution_accelerator"),
        ("cuda", "cpu", "write it under gpu_execution_accelerator"),
        ("openvin", "cpu", "did you mean openvino?"),
        ("auto", "gpu", "write one of tensorrt, cuda"),
    ],
)
def test_accelerators_that_there_are_not(tmp_path: Path, name: str, kind: str, remedy: str) -> None:
    group = GPU if kind == "gpu" else CPU
    (one,) = found(tmp_path, group + accelerator(name, kind))
    assert (one.code, one.line, one.remedy) == ("TRN665", 3, remedy)
    assert one.message == refused(tmp_path, kind.upper())


def test_our_backend_has_the_same_accelerators_and_parameters(tmp_path: Path) -> None:
    assert set(onnx_tensorrt.NAMES) == {*accelerators._TENSORRT, "precision_mode"}
    for kind, names in onnx_accelerators.NAMES.items():
        for name in names:
            group = GPU if kind.startswith("gpu") else CPU
            assert found(tmp_path, group + accelerator(name, kind[:3])) == []
            assert refused(tmp_path, kind[:3].upper()) == ""


TENSORRT = [
    ("trt_engine_cache_enable", "1", "", ""),
    ("trt_engine_cache_enable", "yes", "TRN667", "failed to convert 'yes' to boolean"),
    ("trt_engine_cache_path", "", "", ""),
    ("trt_builder_optimization_level", "high", "TRN667", "failed to convert 'high' to integral number"),
    ("max_workspace_size_bytes", "18446744073709551615", "", ""),
    ("max_workspace_size_bytes", "1G", "warning", ""),
    ("precision_mode", "INT8", "", ""),
    ("precision_mode", "FP8", "TRN667", "unsupported precision mode 'FP8' is requested"),
    ("trt_max_workspace_size", "1", "TRN666", "did you mean max_workspace_size_bytes?"),
    ("trt_engine_cache", "1", "TRN666", "did you mean trt_engine_cache_path?"),
    ("segment_size", "1", "TRN666", "write one of int8_calibration_table_name, "),
]


@pytest.mark.parametrize(("name", "value", "code", "words"), TENSORRT)
def test_what_tensorrt_is_told(tmp_path: Path, name: str, value: str, code: str, words: str) -> None:
    told = found(tmp_path, GPU + accelerator("tensorrt", **{name: value}))
    assert [one.code if one.severity == "error" else one.severity for one in told] == ([code] if code else [])
    assert words in "".join(one.message + one.remedy for one in told)
    assert all(one.line == 4 for one in told)
    refusal = refused(tmp_path, "GPU")
    assert bool(refusal) == code.startswith("TRN")
    assert refusal in "".join(one.message for one in told)


@pytest.mark.parametrize(
    ("release", "expected"), [("24.10", ["TRN667"]), ("26.01", ["TRN667"]), ("26.02", [])]
)
def test_bf16_came_late(tmp_path: Path, release: str, expected: list[str]) -> None:
    told = found(tmp_path, GPU + accelerator("tensorrt", precision_mode="BF16"), Host(release))
    assert codes(told) == expected
    assert all("26.02 or later" in one.remedy for one in told)


@pytest.mark.parametrize(
    ("name", "value", "expected", "remedy"),
    [
        ("cudnn_conv_use_max_workspace", "0", "", ""),
        ("use_ep_level_unified_stream", "1", "", ""),
        ("use_ep_level_unified_stream", "maybe", "TRN671 error", "write true"),
        ("enable_cudagraph", "1", "TRN668 error", "did you mean enable_cuda_graph?"),
        ("something_of_a_later_release", "1", "TRN668 warning", "write one of arena_extend_strategy"),
        ("gpu_mem_limit", "1024", "TRN670 warning", "write it as the model's own parameter"),
        ("device_id", "1", "TRN670 warning", "remove it"),
    ],
)
def test_what_cuda_is_told(tmp_path: Path, name: str, value: str, expected: str, remedy: str) -> None:
    told = found(tmp_path, GPU + accelerator("cuda", **{name: value}))
    assert [f"{one.code} {one.severity}" for one in told] == ([expected] if expected else [])
    assert all(one.line == 4 and remedy in one.remedy for one in told)


def test_openvino_is_told_nothing(tmp_path: Path) -> None:
    (one,) = found(tmp_path, CPU + accelerator("openvino", "cpu", num_of_threads="4"))
    assert (one.code, one.line) == ("TRN669", 4)
    assert refused(tmp_path, "CPU") == ""


@pytest.mark.parametrize("config", ['backend: "python"', 'backend: "tensorrt"'])
def test_other_backends_have_other_parameters(tmp_path: Path, config: str) -> None:
    text: Any = f"{config}\n{GPU}{parameter('execution_mode', '7')}{accelerator('trt')}"
    examples.write(text, tmp_path)
    assert check(tmp_path, host=NEW, choice=ONLY) == []


def test_a_platform_names_the_backend_too(tmp_path: Path) -> None:
    examples.write(f'platform: "onnxruntime_onnx"\n{parameter("execution_mode", "7")}', tmp_path)
    assert codes(check(tmp_path, host=NEW, choice=ONLY)) == ["TRN662"]


@pytest.mark.parametrize("host", [OLD, NEW], ids=["24.10", "26.08"])
@pytest.mark.parametrize(
    "asked",
    [
        Options(),
        Options(accelerate="openvino"),
        Options(gpu="h200"),
        Options(gpu="h200", accelerate="tensorrt,cuda", quantize="fp32"),
        Options(gpu="t4", accelerate="cuda", quantize="fp32"),
    ],
)
@pytest.mark.parametrize(
    "name", [name for name in recipe.names() if recipe.load(name).target == "onnxruntime"]
)
def test_what_the_builder_plans_is_understood(tmp_path: Path, name: str, asked: Options, host: Host) -> None:
    planned = plan(subjects.read(name, None, "mine")[0], asked)
    for model in planned.models:
        (tmp_path / model.name / "1").mkdir(parents=True)
        (tmp_path / model.name / "config.pbtxt").write_text(model_config.text(model, planned))
    assert check(tmp_path, host=host, choice=ONLY) == []
