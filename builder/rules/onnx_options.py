"""TRN661-664, TRN706: the parameters of an ONNX Runtime model, by what NVIDIA's backend reads of them.

Source: onnxruntime_backend/src/onnxruntime.cc, backend/src/backend_common.cc.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from builder.finding import Severity
from builder.layout import Model
from builder.rule import Fault, Host, closest, rule
from builder.rules.onnx_files import is_onnx
from builder.textproto import Key

_THREADS = ("intra_op_thread_count", "inter_op_thread_count")
_MODE = "execution_mode"
_ARENA = "enable_mem_arena"
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_MODES = {0: "sequential", 1: "parallel"}
_OF_CUDA = {
    "cudnn_conv_algo_search": {0: "EXHAUSTIVE", 1: "HEURISTIC", 2: "DEFAULT"},
    "arena_extend_strategy": {0: "kNextPowerOfTwo", 1: "kSameAsRequested"},
}
CUDA_PARAMETERS = (*_OF_CUDA, "gpu_mem_limit", "do_copy_in_default_stream")
"""What NVIDIA's backend reads of a model's own parameters for CUDA alone."""

PARAMETERS = (
    *(*_THREADS, _MODE, _ARENA, "enable_mem_pattern", _SHRINKAGE),
    "session.use_device_allocator_for_initializers",
    *CUDA_PARAMETERS,
)
"""All that NVIDIA's backend reads, and that of backends/onnxruntime."""

# the server's own; what else a strategy's library may read is its affair
_STRATEGY = "TRITON_BATCH_STRATEGY_PATH"
_LEVELS = {-1: "basic", 0: "all", 1: "extended", 2: "none"}


class Problem(NamedTuple):
    """What is wrong with a value; `severity` replaces the rule's."""

    text: str
    remedy: str
    severity: Severity | None = None


Reader = Callable[[str], Problem | None]


def whole(told: str, kind: str = "integral number", bits: int = 31) -> Problem | None:
    """Read a number as std::stoi does, which takes the digits that a text begins with."""
    found = re.match(r"\s*[+-]?0*([0-9]+)", told, re.ASCII)
    if found is None:
        return Problem(f"failed to convert '{told}' to {kind}", "write a whole number")
    # int() takes long for thousands of digits, and refuses more
    if len(found[1]) > 20 or int(found[1]) >= 2**bits:
        return Problem(
            f"{told[:40]} is too large: std::out_of_range, which nothing catches, ends the server",
            "write a smaller number",
            "fatal",
        )
    if found[0] != told:
        read = found[0].strip()
        return Problem(f"of '{told}' Triton reads {read} alone", "write the number alone", "warning")
    return None


def switch(told: str) -> Problem | None:
    """Read a truth value as ParseBoolValue does."""
    if told.lower() in ("true", "on", "1", "false", "off", "0"):
        return None
    return Problem(f"failed to convert '{told}' to boolean", "write true, on or 1, or false, off or 0")


_READERS: Mapping[str, Reader] = {
    **dict.fromkeys((*_THREADS, _MODE), whole),
    **dict.fromkeys((_ARENA, "enable_mem_pattern"), switch),
}


def may_run_on_gpu(config: Any, host: Host) -> bool:
    """Say whether an instance of the model may be on a GPU: by its kinds, and by what the server has."""
    kinds = {group.kind for group in config.instance_group}
    automatic = not kinds or config.instance_group[0].KIND_AUTO in kinds
    return any(group.kind == group.KIND_GPU for group in config.instance_group) or (
        automatic and host.gpus != 0
    )


def told(config: Any) -> dict[str, str]:
    """Return the model's parameters by name, in order."""
    return {name: value.string_value for name, value in sorted(config.parameters.items())}


@rule("TRN706", "warning")
def parameter_ignored(model: Model, config: Any) -> Iterator[Fault]:
    """A parameter of an ONNX Runtime model is one that its backend reads; it ignores all others.

    Bad:
        backend: "onnxruntime"
        parameters { key: "intra_op_threads" value { string_value: "4" } }
    Good:
        backend: "onnxruntime"
        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    if not is_onnx(model) or _STRATEGY in config.parameters:
        return
    for name in told(config):
        if name not in PARAMETERS:
            meant = closest(name, PARAMETERS)
            yield Fault(
                ("parameters", Key(name)),
                f"the onnxruntime backend ignores parameter '{name}' of {model.name}; it reads "
                f"{', '.join(sorted(PARAMETERS))}",
                f"did you mean {meant}?" if meant else "write one of these, or remove it",
            )


@rule("TRN661")
def onnx_parameter_value(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A parameter of an ONNX Runtime model can be read as what it stands for: a number, or true or false.

    A number beyond 32 bits ends the whole server.

    Triton: failed to convert 'many' to integral number
    Bad:
        backend: "onnxruntime"
        parameters { key: "intra_op_thread_count" value { string_value: "many" } }
    Good:
        backend: "onnxruntime"
        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    readers = _READERS
    if may_run_on_gpu(config, host):
        readers = {**readers, **dict.fromkeys(_OF_CUDA, whole)}
    for name, value in told(config).items() if is_onnx(model) else ():
        problem = readers[name](value) if name in readers else None
        if problem is not None:
            yield Fault(
                ("parameters", Key(name)),
                f"{name}: {problem.text}",
                problem.remedy,
                severity=problem.severity,
            )


@rule("TRN662")
def onnx_parameter_choice(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A parameter that chooses by a number names a choice that there is.

    Triton: Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got 2 .
    Bad:
        backend: "onnxruntime"
        parameters { key: "execution_mode" value { string_value: "2" } }
    Good:
        backend: "onnxruntime"
        parameters { key: "execution_mode" value { string_value: "1" } }
    """
    choices = {_MODE: _MODES, **(_OF_CUDA if may_run_on_gpu(config, host) else {})}
    for name, value in told(config).items() if is_onnx(model) else ():
        problem = whole(value) if name in choices else None
        if name not in choices or (problem is not None and problem.severity != "warning"):
            continue
        number = int(re.findall(r"[+-]?\d+", value)[0])
        if number not in choices[name]:
            text = f"unsupported {name} value '{number}' is requested"
            if name == _MODE:
                text = (
                    "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 "
                    f"but got {number} ."
                )
            known = (f"{one} ({meaning})" for one, meaning in choices[name].items())
            yield Fault(("parameters", Key(name)), text, f"write {' or '.join(known)}")


@rule("TRN663", "fatal")
def onnx_arena_shrinkage(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """The arenas that are to shrink after a run are there: otherwise the model loads and every request fails.

    The list is such as cpu:0 or cpu:0;gpu:0; without enable_mem_arena there is no arena for a CPU.

    Triton: onnx runtime error 2: Did not find an arena based allocator registered for device-id combination
        in the memory arena shrink list: cpu:0
    Bad:
        backend: "onnxruntime"
        instance_group { kind: KIND_CPU }
        parameters { key: "enable_mem_arena" value { string_value: "0" } }
        parameters { key: "memory.enable_memory_arena_shrinkage" value { string_value: "cpu:0" } }
    Good:
        backend: "onnxruntime"
        instance_group { kind: KIND_CPU }
        parameters { key: "memory.enable_memory_arena_shrinkage" value { string_value: "cpu:0" } }
    """
    asked = told(config).get(_SHRINKAGE, "") if is_onnx(model) else ""
    devices = [device for device in asked.split(";") if device]
    unknown = [device for device in devices if not re.fullmatch(r"(cpu|gpu)(:\d+)?", device)]
    has_arena = told(config).get(_ARENA, "1").lower() not in ("false", "off", "0")
    there = {"gpu", "cpu"} if may_run_on_gpu(config, host) else {"cpu"} if has_arena else set()
    field = ("parameters", Key(_SHRINKAGE))
    if unknown:
        text = f"Unsupported device specified in the memory arena shrink list: {unknown[0]}"
        yield Fault(field, text, "write cpu:0, gpu:0, or both with a semicolon between them")
    elif devices and not there & {device[:3] for device in devices}:
        yield Fault(
            field,
            "Did not find an arena based allocator registered for device-id combination in the memory arena "
            f"shrink list: {asked}",
            f"remove {_ARENA}" if not has_arena and "cpu" in asked else f"remove {_SHRINKAGE}",
        )


@rule("TRN664", "warning")
def onnx_graph_level(model: Model, config: Any) -> Iterator[Fault]:
    """The level of graph optimization is -1, 1 or 2: any other number means all of them, as 0 does.

    Bad:
        backend: "onnxruntime"
        optimization { graph { level: 3 } }
    Good:
        backend: "onnxruntime"
        optimization { graph { level: 1 } }
    """
    level = config.optimization.graph.level
    if is_onnx(model) and level not in _LEVELS:
        known = ", ".join(f"{number} ({meaning})" for number, meaning in _LEVELS.items())
        yield Fault(
            ("optimization", "graph", "level"),
            f"the onnxruntime backend knows no level {level}: {model.name} is optimized as with 0",
            f"write one of {known}",
        )
