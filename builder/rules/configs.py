"""Rules about one config.pbtxt by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.check import Finding
from builder.layout import Layout, Model

_POSITION = re.compile(r"^(\d+):(\d+) : (.*)$", re.DOTALL)
# Backends that Triton finds by the name of a file in the first folder of the model.
_AUTOFILLED = ("model.plan", "model.onnx", "model.xml", "model.pt", "model.pt2", "model.py")


def config_unreadable(model: Model, repository: Layout) -> Iterator[Finding]:
    """A config must be a ModelConfig in protobuf's text format; an unknown field is an error."""
    if not model.parse_error:
        return
    position = _POSITION.match(model.parse_error)
    line, column, message = position.groups() if position else ("", "", model.parse_error)
    where = f"{model.name}/config.pbtxt" + (f":{line}:{column}" if line else "")
    yield Finding("config-unreadable", "error", where, message, "mend that line, or build the model again")


def name_mismatch(model: Model, repository: Layout) -> Iterator[Finding]:
    """A name in the config must be the folder's."""
    if model.config is not None and model.config.name not in ("", model.name):
        yield Finding(
            "name-mismatch",
            "error",
            f"{model.name}/config.pbtxt",
            f"unexpected directory name '{model.name}' for model '{model.config.name}', "
            "directory name must equal model name",
            f"rename the folder to {model.config.name}, or remove `name` from its config.pbtxt",
        )


def no_backend(model: Model, repository: Layout) -> Iterator[Finding]:
    """A config must name its backend, or a version folder must hold a file that tells it."""
    if model.config is None or model.backend or model.config.platform:
        return
    first = model.folders[0].path if model.folders else model.path
    if not any((first / name).exists() for name in _AUTOFILLED):
        yield Finding(
            "no-backend",
            "error",
            f"{model.name}/config.pbtxt",
            f"Invalid model name: Could not determine backend for model '{model.name}' "
            "with no backend in model configuration",
            'add `backend: "python"`, or `platform: "ensemble"` for an ensemble',
        )


def max_batch_size_negative(model: Model, repository: Layout) -> Iterator[Finding]:
    """max_batch_size is 0 (no batching) or more."""
    if model.config is not None and model.config.max_batch_size < 0:
        yield Finding(
            "max-batch-size-negative",
            "error",
            f"{model.name}/config.pbtxt",
            f"'max_batch_size' must be non-negative value for {model.name}",
            "write 0 for a model that does not batch",
        )
