"""A graph in memory: how it is loaded and run, and what ONNX Runtime's errors say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from backends.onnxruntime.options import Options
from backends.onnxruntime.values import Refused

_ERRORS_ONLY = 3
_NO_PLANS = ("ORT_ENABLE_CUDNN_FLASH_ATTENTION", "0")
"""cuDNN's attention plans for every new shape, some 50 ms each time, and batches hardly repeat one."""
_OF_NVIDIA = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def path(repository: str, version: str, config: Mapping[str, Any]) -> Path:
    """Return the .onnx file of a version; raise Refused where there is none."""
    file = Path(repository) / version / (config.get("default_model_filename") or "model.onnx")
    if file.is_dir():
        file /= "model.onnx"
    if not file.exists():
        raise Refused(f"unable to find '{file}' for model instance '{config['name']}'")
    return file


def load(file: Path, told: Options) -> Any:
    """Return an InferenceSession; raise Refused where a provider is missing or the file is no graph."""
    available = onnxruntime.get_available_providers()
    for name, _ in told.providers:
        if name not in available:
            raise Refused(
                f"{name} is not in this onnxruntime, which has {', '.join(available)}; install one that has "
                "it, or take the accelerator or KIND_GPU that asks for it out of the config"
            )
    _find_libraries(told)
    os.environ.setdefault(*_NO_PLANS)
    try:
        session = onnxruntime.InferenceSession(
            str(file), _session_options(told), [(name, dict(one)) for name, one in told.providers]
        )
    except Exception as error:
        raise Refused(problem(error)) from error
    require_started(told, session.get_providers())
    return session


def require_started(told: Options, started: Sequence[str]) -> None:
    """Raise Refused where ONNX Runtime left a provider out: it says so in its log alone and goes on."""
    missing = [name for name, _ in told.providers if name not in started]
    if missing:
        raise Refused(
            f"{' and '.join(missing)} did not start here, only {', '.join(started)}; install the GPU's "
            "driver and the versions of CUDA and cuDNN that this onnxruntime was built with (its own error "
            "stands above), or serve this model by KIND_CPU"
        )


def _find_libraries(told: Options) -> None:
    """Load CUDA's libraries from where pip puts them, which is no place that a linker looks at."""
    if any(name in _OF_NVIDIA for name, _ in told.providers) and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls(msvc=False)


def run_options(told: Options) -> Any:
    """Return the RunOptions of every run."""
    found = onnxruntime.RunOptions()
    for name, value in told.run_entries.items():
        found.add_run_config_entry(name, value)
    return found


def problem(error: Exception) -> str:
    """Return an error in the words of NVIDIA's backend, which says ONNX Runtime's code and message."""
    found = re.fullmatch(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", str(error), re.DOTALL)
    return f"onnx runtime error {found[1]}: {found[2]}" if found else str(error)


def fed(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return a request's array as ONNX Runtime takes it: text as str, which bytes would be printed to.

    Raises:
        ValueError: an element is not UTF-8; ONNX's text is, and Python could not read it back.
    """
    if array.dtype != np.object_:
        return array
    try:
        text = list(_text(array.reshape(-1).tolist()))
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' is not valid UTF-8: {error}") from error
    return np.array(text, dtype=np.object_).reshape(array.shape)


def _text(elements: Sequence[Any]) -> Iterator[str]:
    for element in elements:
        yield element.decode() if isinstance(element, bytes) else str(element)


def _session_options(told: Options) -> Any:
    found = onnxruntime.SessionOptions()
    found.intra_op_num_threads = told.intra_op_threads
    found.inter_op_num_threads = told.inter_op_threads
    if told.parallel:
        found.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    found.enable_cpu_mem_arena = told.memory_arena
    found.enable_mem_pattern = told.memory_pattern
    found.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, told.graph_level)
    found.log_severity_level = _ERRORS_ONLY
    for name, value in told.entries.items():
        found.add_session_config_entry(name, value)
    for library in told.operators:
        found.register_custom_ops_library(library)
    return found
