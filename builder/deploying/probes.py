"""The request that tells whether a front still answers; readiness alone does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.layout import Layout, Model

_TEXT = "Hello"
# What KServe's JSON calls a data type, and a value of it that every model of that type takes.
_JSON: dict[str, tuple[str, Any]] = {
    "TYPE_STRING": ("BYTES", _TEXT),
    "TYPE_BOOL": ("BOOL", False),
    "TYPE_FP32": ("FP32", 0.0),
    "TYPE_FP64": ("FP64", 0.0),
    **{f"TYPE_{kind}{size}": (f"{kind}{size}", 0) for kind in ("INT", "UINT") for size in (8, 16, 32, 64)},
}


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
    return tuple(_probe(model) for model in fronts or [model for model in models if model.name not in steps])


def _probe(model: Model) -> Probe:
    home = f"/v2/models/{model.name}"
    asked = {name: tensor for name, tensor in model.inputs().items() if _is_asked(name, tensor)}
    if model.config.model_transaction_policy.decoupled:
        if set(asked) == {"text_input"}:
            tokens = {"max_tokens": 1} if "max_tokens" in model.inputs() else {}
            return Probe(model.name, f"{home}/generate", {"text_input": _TEXT, **tokens})
    elif all(_type(tensor) in _JSON for tensor in asked.values()):
        batch = [1] if model.config.max_batch_size else []
        return Probe(
            model.name, f"{home}/infer", {"inputs": [_tensor(tensor, batch) for tensor in asked.values()]}
        )
    # its inputs cannot be said in JSON: that it is loaded is all one can ask
    return Probe(model.name, f"{home}/ready", None)


def _is_asked(name: str, tensor: Any) -> bool:
    return name == "text_input" or not tensor.optional


def _tensor(tensor: Any, batch: list[int]) -> dict[str, Any]:
    kind, value = _JSON[_type(tensor)]
    shape = [*batch, *(max(1, size) for size in tensor.dims)]
    return {"name": tensor.name, "datatype": kind, "shape": shape, "data": [value] * math.prod(shape)}


def _type(tensor: Any) -> str:
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(tensor.data_type))
