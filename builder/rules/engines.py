"""TRN68x: TensorRT's engines. Triton: tensorrt_backend/src/instance_state.cc and tensorrt_utils.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder import engine_file, reading
from builder.data_types import spelled
from builder.layout import Model
from builder.rule import Fault, Host, rule

MISSING = "TRN681"

_UNKNOWN_TYPES = frozenset(
    ("TYPE_STRING", "TYPE_FP64", "TYPE_INT16", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64")
)
_DEFAULT = "model.plan"


@rule(MISSING)
def engine_not_built(model: Model, config: Any) -> Iterator[Fault]:
    """The engine of a graph that `builder build --target tensorrt` wrote is built before it is served.

    Where a build finds neither the GPU nor Docker it publishes the graph and build-engine.sh, which does the
    rest on the machine that has both.

    Triton: unable to find 'model.plan' for model instance 'm_0_0'
    Bad:
        backend: "tensorrt"
        == m/1/model.onnx
        == m/1/build-engine.sh
        == m/1/engine.json
        {"result": "model.plan"}
    Good:
        backend: "tensorrt"
        == m/1/model.onnx
        == m/1/build-engine.sh
        == m/1/engine.json
        {"result": "model.plan"}
        == m/1/model.plan
        ftrt
    """
    for version in _served(model, config):
        told = _record(model, version)
        if told is not None and not (model.path / str(version) / _name(config)).exists():
            card = f"a GPU of compute capability {told['compute']}" if "compute" in told else "the GPU"
            yield Fault(
                (),
                f"the engine of model '{model.name}' is not built: version {version} has no {_name(config)}",
                f"run `sh {model.name}/{version}/{engine_file.SCRIPT}` on a machine with Docker and {card}",
                file=f"{version}/{_name(config)}",
            )


@rule("TRN682")
def engine_unreadable(model: Model, config: Any) -> Iterator[Fault]:
    """An engine begins as TensorRT's plans do: no other file becomes one by its name.

    Triton: unable to create TensorRT engine: Error Code 1: Serialization (Serialization assertion
        plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)
    Bad:
        backend: "tensorrt"
        == m/1/model.plan
        version https://git-lfs.github.com/spec/v1
    Good:
        backend: "tensorrt"
        == m/1/model.plan
        ftrt
    """
    for version in _served(model, config):
        path = model.file(str(version), _name(config))
        if path is not None and not engine_file.begins(path):
            yield Fault(
                (),
                f"{path.name} is no engine of TensorRT: it begins with {engine_file.start(path)!r}",
                "build it with trtexec, or fetch it again, whole",
                file=f"{version}/{path.name}",
            )


@rule("TRN683", "warning")
def engine_of_another_release(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An engine is served by the release of Triton that it was built for.

    An engine loads only in the version of TensorRT that built it, and nearly every release brings another.

    Bad:
        backend: "tensorrt"
        == m/1/engine.json
        {"result": "model.plan", "triton": "25.12"}
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        == m/1/engine.json
        {"result": "model.plan", "triton": "26.09"}
        == m/1/model.plan
        ftrt
    """
    for version in _served(model, config):
        built = (_record(model, version) or {}).get("triton")
        if isinstance(built, str) and built != host.triton:
            yield Fault(
                (),
                f"version {version} of model '{model.name}' is built for Triton {built}, not {host.triton}",
                f"serve it in {built}, or build it again with `builder build --triton {host.triton}`",
                file=f"{version}/{engine_file.RECORD}",
            )


@rule("TRN684")
def tensorrt_needs_a_gpu(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """The tensorrt backend runs on GPUs alone.

    Triton: unable to load model 'm', TensorRT backend supports only GPU device
    Bad:
        backend: "tensorrt"
        instance_group { kind: KIND_CPU }
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        instance_group { kind: KIND_GPU }
        == m/1/model.plan
        ftrt
    """
    if not _is_tensorrt(config):
        return
    problem = f"unable to load model '{model.name}', TensorRT backend supports only GPU device"
    for place, group in enumerate(config.instance_group):
        if group.kind in (group.KIND_CPU, group.KIND_MODEL):
            yield Fault(("instance_group", place, "kind"), problem, "write kind: KIND_GPU")
    if not config.instance_group and host.gpus == 0:
        yield Fault((), problem, "serve it where a GPU is")


@rule("TRN685")
def tensorrt_tensor_type(model: Model, config: Any) -> Iterator[Fault]:
    """TensorRT has tensors of numbers up to 64-bit integers and float32, and none of text.

    Triton: unsupported datatypeTYPE_STRING for output 'label' for model 'm'
    Bad:
        backend: "tensorrt"
        output { name: "label" data_type: TYPE_STRING dims: [1] }
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        output { name: "scores" data_type: TYPE_FP32 dims: [2] }
        == m/1/model.plan
        ftrt
    """
    for kind in ("input", "output") if _is_tensorrt(config) else ():
        for place, tensor in enumerate(getattr(config, kind)):
            if spelled(tensor.data_type) in _UNKNOWN_TYPES:
                yield Fault(
                    (kind, place, "data_type"),
                    f"unsupported datatype{spelled(tensor.data_type)} for {kind} '{tensor.name}' for model "
                    f"'{model.name}'",
                    "let a model before or after it, of another backend, have that tensor",
                )


@rule("TRN686", "warning")
def accelerators_without_effect(model: Model, config: Any) -> Iterator[Fault]:
    """Execution accelerators are ONNX Runtime's and OpenVINO's: an engine is accelerated when it is built.

    Bad:
        backend: "tensorrt"
        optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        == m/1/model.plan
        ftrt
    """
    if _is_tensorrt(config) and config.optimization.HasField("execution_accelerators"):
        yield Fault(
            ("optimization", "execution_accelerators"),
            f"the tensorrt backend does not read execution_accelerators of model '{model.name}'",
            "remove them; precision and workspace are options of trtexec",
        )


@rule("TRN687")
def profile_not_in_engine(model: Model, config: Any) -> Iterator[Fault]:
    """An instance group names profiles that the engine has.

    One that `builder build` wrote has profile 0 alone.

    Triton: Can not set the specified optimization profile 1[1] for m_0_0. Expected optimization profile
        index range 0-0
    Bad:
        backend: "tensorrt"
        instance_group { kind: KIND_GPU profile: "1" }
        == m/1/engine.json
        {"result": "model.plan"}
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        instance_group { kind: KIND_GPU profile: "0" }
        == m/1/engine.json
        {"result": "model.plan"}
        == m/1/model.plan
        ftrt
    """
    if not any(_record(model, version) is not None for version in _served(model, config)):
        return
    for place, group in enumerate(config.instance_group):
        for number, profile in enumerate(group.profile):
            if profile.isdecimal() and int(profile) > 0:
                yield Fault(
                    ("instance_group", place, "profile", number),
                    f"Can not set the specified optimization profile {profile}[{int(profile)}] for model "
                    f"'{model.name}'. Expected optimization profile index range 0-0",
                    "remove profile: profile 0 is the default",
                )


@rule("TRN688")
def batches_beyond_the_engine(model: Model, config: Any) -> Iterator[Fault]:
    """max_batch_size is no more than the largest batch that the engine was built for.

    Triton: unexpected configuration maximum batch size 64 for 'm_0_0', model maximum is 8
    Bad:
        backend: "tensorrt"
        max_batch_size: 64
        input { name: "x" data_type: TYPE_FP32 dims: [2] }
        == m/1/engine.json
        {"result": "model.plan", "profile": {"x": {"max": [8, 2]}}}
        == m/1/model.plan
        ftrt
    Good:
        backend: "tensorrt"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: [2] }
        == m/1/engine.json
        {"result": "model.plan", "profile": {"x": {"max": [8, 2]}}}
        == m/1/model.plan
        ftrt
    """
    for version in _served(model, config):
        largest = _largest_batch(config, _record(model, version) or {})
        if largest is not None and config.max_batch_size > largest:
            yield Fault(
                ("max_batch_size",),
                f"unexpected configuration maximum batch size {config.max_batch_size} for '{model.name}', "
                f"model maximum is {largest} in version {version}",
                f"write max_batch_size: {largest}, or build again with --concurrency",
            )


def _largest_batch(config: Any, record: dict[str, Any]) -> int | None:
    """Return the rows of the largest shape of what is batched row by row; None where none is known."""
    told = record.get("profile")
    profile = told if isinstance(told, dict) else {}
    found = [
        shape["max"][0]
        for tensor in config.input
        if not tensor.allow_ragged_batch
        for shape in [profile.get(tensor.name)]
        if isinstance(shape, dict) and isinstance(shape.get("max"), list) and shape["max"]
    ]
    return min((size for size in found if isinstance(size, int)), default=None)


def _is_tensorrt(config: Any) -> bool:
    return bool(config.backend == "tensorrt" or config.platform == "tensorrt_plan")


def _served(model: Model, config: Any) -> tuple[int, ...]:
    return model.served if _is_tensorrt(config) else ()


def _name(config: Any) -> str:
    return config.default_model_filename or _DEFAULT


def _record(model: Model, version: int) -> dict[str, Any] | None:
    """Return what a build noted of the engine, None where no build wrote the version."""
    file = model.file(str(version), engine_file.RECORD)
    value = reading.json_of(file)[0] if file is not None else None
    return value if isinstance(value, dict) else None
