"""The request that tells whether a front answers; readiness alone does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder import likeness
from builder.errors import VerifyError
from builder.layout import Layout, Model
from builder.recorded import Row, read_recorded

_TEXT = "Hello"
# What KServe's JSON calls a data type, and a value of it that every model of that type takes.
_JSON: dict[str, tuple[str, Any]] = {
    "TYPE_STRING": ("BYTES", _TEXT),
    "TYPE_BOOL": ("BOOL", False),
    "TYPE_FP32": ("FP32", 0.0),
    "TYPE_FP64": ("FP64", 0.0),
    **{f"TYPE_{kind}{size}": (f"{kind}{size}", 0) for kind in ("INT", "UINT") for size in (8, 16, 32, 64)},
}
_IMAGE = (
    "BM:\0\0\0\0\0\0\x006\0\0\0"
    "(\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0\0\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0"
)
"""A BMP file of one black pixel: JSON holds only text, and no byte of it is above 127.

File header, BITMAPINFOHEADER, pixels: https://learn.microsoft.com/windows/win32/gdi/bitmap-storage
"""


@dataclass(frozen=True)
class Probe:
    """One HTTP request to a front; without a body it is a GET."""

    model: str
    path: str
    body: Mapping[str, Any] | None


def probes(repository: Layout) -> tuple[Probe, ...]:
    """Return a request for each model that clients talk to.

    Those are the models with a manifest; in a repository without any, the models that no ensemble
    uses as a step.
    """
    models = [model for model in repository.models.values() if model.served]
    steps = {step.model_name for model in models for step in model.config.ensemble_scheduling.step}
    fronts = [model for model in models if model.has_manifest]
    return tuple(probe(model) for model in fronts or [model for model in models if model.name not in steps])


def probe(model: Model) -> Probe:
    """Return a request that a model answers: of what was recorded of its source, else of any values."""
    home = f"/v2/models/{model.name}"
    asked = {name: tensor for name, tensor in model.inputs().items() if _is_asked(name, tensor)}
    if model.config.model_transaction_policy.decoupled:
        if set(asked) == {"text_input"}:
            tokens = {name: 1 for name in _LENGTHS if name in model.inputs()}
            return Probe(model.name, f"{home}/generate", {"text_input": _TEXT, **tokens})
    elif all(_type(tensor) in _JSON for tensor in asked.values()):
        batch = [1] if model.config.max_batch_size else []
        row = _recorded(model, asked) or {name: _any_values(tensor) for name, tensor in asked.items()}
        tensors = [_tensor(tensor, row[name], batch) for name, tensor in asked.items()]
        return Probe(model.name, f"{home}/infer", {"inputs": tensors})
    # its inputs cannot be said in JSON: that it is loaded is all one can ask
    return Probe(model.name, f"{home}/ready", None)


_LENGTHS = ("max_tokens", "sampling_param_max_tokens")


def _is_asked(name: str, tensor: Any) -> bool:
    return name == "text_input" or not tensor.optional


def _recorded(model: Model, asked: Mapping[str, Any]) -> Row | None:
    """Return the shortest inputs that its source was asked, None where none was recorded or JSON lacks it."""
    file = model.file(str(max(model.served)), "golden.json")
    try:
        asks = read_recorded(file).asks if file else ()
    except VerifyError:
        return None
    rows = [_in_json(ask.trimmed(1).inputs) for ask in asks if ask.inputs.keys() == asked.keys()]
    return min((row for row in rows if row), key=lambda row: len(str(row)), default=None)


def _in_json(row: Row) -> Row | None:
    """Return inputs with a small image for bytes; None for numbers that JSON does not know."""
    values = [value for each in row.values() for value in likeness.flat(each)]
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return None
    # only images are recorded as bytes
    return {
        name: [_IMAGE] if any(isinstance(value, bytes) for value in likeness.flat(each)) else each
        for name, each in row.items()
    }


def _any_values(tensor: Any) -> Any:
    value = _JSON[_type(tensor)][1]
    for size in reversed(tensor.dims):
        value = [value] * max(1, size)
    return value


def _tensor(tensor: Any, values: Any, batch: list[int]) -> dict[str, Any]:
    shape = [*batch, *likeness.shape(values)]
    return {
        "name": tensor.name,
        "datatype": _JSON[_type(tensor)][0],
        "shape": shape,
        "data": likeness.flat(values),
    }


def _type(tensor: Any) -> str:
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(tensor.data_type))
