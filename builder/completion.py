"""What Triton adds to a config by itself, where the server lets it.

Triton: AutoCompleteBackendFields in core/src/model_config_utils.cc, and each backend's own auto-complete;
a server started with --disable-auto-complete-config asks no backend.
"""

from __future__ import annotations

from builder.layout import Model
from builder.rule import Host

FILES = {
    "model.onnx": "onnxruntime",
    "model.plan": "tensorrt",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.pt2": "pytorch",
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.py": "python",
}
"""The file by whose name Triton guesses the backend, in the first folder of the model."""

_COMPLETING = frozenset(("dali", "onnxruntime", "openvino", "pytorch", "tensorflow", "tensorrt"))


def guessed_backend(model: Model) -> str:
    """Return the backend that Triton guesses by the files of the first folder, "" for none."""
    first = model.folders[0].path if model.folders else model.path
    return next((backend for name, backend in FILES.items() if (first / name).exists()), "")


def completes(model: Model, host: Host) -> bool:
    """Return whether tensors and max_batch_size that the config leaves out may come from the backend."""
    if not host.completes:
        return False
    backend = model.backend or str(model.config.platform if model.config is not None else "").split("_")[0]
    backend = backend or guessed_backend(model)
    return model.completes_itself if backend == "python" else backend in _COMPLETING
