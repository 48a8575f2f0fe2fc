"""How each server is asked for one vector: the request as bytes, made beforehand, and the answer read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

Vector = NDArray[np.float32]
_HEADER_LENGTH = "Inference-Header-Content-Length"


class Refused(RuntimeError):
    """A server answered with an error."""


class Door(Protocol):
    """A way into one server; `knock` is called within the running loop, before everything else."""

    def request(self, text: str) -> Any:
        """Return what `ask` sends for a text."""
        ...

    async def knock(self) -> None: ...

    async def ask(self, request: Any) -> Any:
        """Send one request and wait for the whole answer; raise Refused when it is an error."""
        ...

    def vector(self, answer: Any) -> Vector: ...

    async def leave(self) -> None: ...


@dataclass
class TritonGrpc:
    """KServe's ModelInfer over one channel; the answer is a ModelInferResponse."""

    address: str
    model: str
    text: str = "text_input"
    embedding: str = "embedding"

    def request(self, text: str) -> Any:
        encoded = text.encode()
        made = service_pb2.ModelInferRequest(model_name=self.model)
        made.inputs.add(name=self.text, datatype="BYTES", shape=[1, 1])
        made.outputs.add(name=self.embedding)
        made.raw_input_contents.append(struct.pack("<I", len(encoded)) + encoded)
        return made

    async def knock(self) -> None:
        self._channel = grpc.aio.insecure_channel(self.address)
        self._infer = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer

    async def ask(self, request: Any) -> Any:
        try:
            return await self._infer(request)
        except grpc.aio.AioRpcError as error:
            raise Refused(error.details()) from error

    def vector(self, answer: Any) -> Vector:
        return np.frombuffer(answer.raw_output_contents[0], dtype="<f4")

    async def leave(self) -> None:
        await self._channel.close()


class _Http:
    """What the doors over HTTP share: one session that keeps its connections."""

    url: str

    async def knock(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """Return the header that says where Triton's JSON ends, and the body."""
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self.url, data=request, headers=headers) as answer:
                body = await answer.read()
        except aiohttp.ClientError as error:
            raise Refused(f"{self.url}: {error!r}") from error
        if answer.status != 200:
            raise Refused(f"{self.url} answered {answer.status}: {body[:300]!r}")
        return answer.headers.get(_HEADER_LENGTH, ""), body

    async def leave(self) -> None:
        await self._session.close()


class TritonHttp(_Http):
    """KServe's infer over HTTP: JSON in, the vector as bytes after the JSON of the answer."""

    def __init__(self, address: str, model: str) -> None:
        self.url = f"http://{address}/v2/models/{model}/infer"

    def request(self, text: str) -> bytes:
        given = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
        asked = {"name": "embedding", "parameters": {"binary_data": True}}
        return json.dumps({"inputs": [given], "outputs": [asked]}).encode()

    def vector(self, answer: tuple[str, bytes]) -> Vector:
        header, body = answer
        return np.frombuffer(body[int(header) :], dtype="<f4")


class Json(_Http):
    """A peer's own endpoint: JSON in, JSON out.

    `field` holds the text; a server that `batches` takes and gives lists of one.
    """

    def __init__(self, url: str, field: str = "text", *, batches: bool = False) -> None:
        self.url = url
        self._field, self._batches = field, batches

    def request(self, text: str) -> bytes:
        return json.dumps({self._field: [text] if self._batches else text}).encode()

    def vector(self, answer: tuple[str, bytes]) -> Vector:
        found = json.loads(answer[1])
        if isinstance(found, dict):
            found = found["embedding"]
        return np.array(found[0] if self._batches else found, dtype=np.float32)
