"""Triton's `infer` over plain HTTP: one request of JSON, one response."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

from builder.measuring import bodies, tensors
from builder.measuring.asks import Inputs
from builder.measuring.bodies import Body, Tensors
from builder.measuring.connections import Connections
from builder.measuring.door import Answer, Heard
from builder.measuring.events import Status
from builder.measuring.task import Asking
from builder.measuring.tensors import Tensor

NO_JSON = ("FP16", "BF16")
"""Dtypes that Triton reads from raw bytes only."""


def create(asking: Asking) -> HttpInferDoor:
    """Return the door to `asking.address`, "host:port"."""
    return HttpInferDoor(asking)


class HttpInferDoor:
    """See Door and InferDoor. What JSON cannot hold follows it as raw bytes (binary tensor extension)."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._connections = Connections(asking.address)

    def prepare(self, inputs: Inputs, *, marks: bool) -> Body:
        return bodies.make(self._asking, inputs, self._encoded, marks=marks)

    async def ask(self, prompt: Body, heard: Heard) -> None:
        status, body = await self._connections.exchange(prompt.sent)
        if status != 200:
            raise Status(status, body.decode(errors="replace"))
        # what it holds is for `builder verify`; thousands of answers are not worth their memory
        heard.append((time.perf_counter(), b""))

    def read(self, heard: Heard) -> Answer:
        return Answer()

    async def close(self) -> None:
        await self._connections.close()

    def _encoded(self, given: Tensors) -> bytes:
        asking, inputs, binary = self._asking, [], b""
        for name, tensor in given.items():
            datatype = asking.inputs[name]
            shape = [1, *tensor.shape] if asking.batched else list(tensor.shape)
            described: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
            if _is_json(datatype, tensor):
                values = [one.decode() if isinstance(one, bytes) else one for one in tensor.values]
                inputs.append({**described, "data": values})
            else:
                raw = tensors.raw(datatype, tensor.values)
                inputs.append({**described, "parameters": {"binary_data_size": len(raw)}})
                binary += raw
        body = json.dumps({"inputs": inputs}, ensure_ascii=False).encode()
        lines = [
            f"POST /v2/models/{quote(asking.model, safe='')}/infer HTTP/1.1",
            f"Host: {asking.address}",
            "Content-Type: application/json" if not binary else "Content-Type: application/octet-stream",
            f"Content-Length: {len(body) + len(binary)}",
            *([f"Inference-Header-Content-Length: {len(body)}"] if binary else []),
            *(f"{name}: {value}" for name, value in asking.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body + binary


def _is_json(datatype: str, tensor: Tensor) -> bool:
    if datatype in NO_JSON:
        return False
    try:
        return all(isinstance(one.decode(), str) for one in tensor.values if isinstance(one, bytes))
    except UnicodeDecodeError:
        return False
