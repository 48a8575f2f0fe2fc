"""Requests as Triton's gRPC protocol has them (KServe v2), their tensors as bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import Served


class Tensor(NamedTuple):
    """An input: its elements in row-major order, little-endian; BYTES each behind its length, 4 bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data


_PACK: dict[str, Callable[[Any], bytes]] = {
    "BYTES": _text,
    "BOOL": struct.Struct("<?").pack,
    "INT32": struct.Struct("<i").pack,
    "INT64": struct.Struct("<q").pack,
    "UINT64": struct.Struct("<Q").pack,
    "FP32": struct.Struct("<f").pack,
}


def tensors(model: Served, values: Mapping[str, Any]) -> list[Tensor]:
    """Return the inputs of one row, each as the model declares it; a value is one element or a list of them.

    Raises Failure (INVALID) that names the input which the model does not have.
    """
    return [_row(model, name, value) for name, value in values.items()]


def _row(model: Served, name: str, value: Any) -> Tensor:
    datatype = model.inputs.get(name)
    if datatype is None:
        raise Failure(Kind.INVALID, f"{name} is not supported by the model '{model.name}': leave it out")
    if isinstance(value, list):
        return Tensor(name, datatype, (1, len(value)), _packed(datatype, value))
    return Tensor(name, datatype, (1, 1), _PACK[datatype](value))


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "INT32":
        return np.asarray(values, dtype="<i4").tobytes()
    return b"".join(map(_PACK[datatype], values))


def texts(name: str, values: Sequence[str]) -> Tensor:
    """Return texts, one to a row."""
    return Tensor(name, "BYTES", (len(values), 1), b"".join(map(_text, values)))


def integers(name: str, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return INT32 rows of one length."""
    return Tensor(name, "INT32", (len(rows), len(rows[0])), np.asarray(rows, dtype="<i4").tobytes())


def request(
    model: str, inputs: Iterable[Tensor], outputs: Sequence[str], seconds: float | None = None
) -> Any:
    """Return the ModelInferRequest that asks for these outputs and no others, within so many seconds."""
    from tritonclient.grpc import service_pb2

    made = service_pb2.ModelInferRequest(model_name=model, outputs=_outputs(tuple(outputs)))
    for name, datatype, shape, raw in inputs:
        made.inputs.add(name=name, datatype=datatype, shape=shape)
        made.raw_input_contents.append(raw)
    if seconds is not None:
        # Triton counts microseconds
        made.parameters["timeout"].int64_param = max(1, int(seconds * 1e6))
    return made


@lru_cache
def _outputs(names: tuple[str, ...]) -> list[Any]:
    from tritonclient.grpc import service_pb2

    return [service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]
