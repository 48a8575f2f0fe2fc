"""Triton's plain gRPC call: one request, one response, all on one channel."""

from __future__ import annotations

import time

from builder.measuring import bodies, tensors
from builder.measuring.asks import Inputs
from builder.measuring.bodies import Body, Tensors
from builder.measuring.door import Answer, Heard
from builder.measuring.errors import Refused
from builder.measuring.task import Asking

METHOD = "/inference.GRPCInferenceService/ModelInfer"
LARGEST_MESSAGE = 1 << 30


def create(asking: Asking) -> GrpcInferDoor:
    """Return the door to `asking.address`, "host:port"."""
    return GrpcInferDoor(asking)


class GrpcInferDoor:
    """See Door and InferDoor."""

    def __init__(self, asking: Asking) -> None:
        import grpc
        from tritonclient.grpc import service_pb2

        self._grpc, self._messages, self._asking = grpc, service_pb2, asking
        limits = [(f"grpc.max_{way}_message_length", LARGEST_MESSAGE) for way in ("send", "receive")]
        self._channel = grpc.aio.insecure_channel(asking.address, options=limits)
        # without serializers requests and responses are bytes
        self._infer = self._channel.unary_unary(METHOD)

    def prepare(self, inputs: Inputs, *, marks: bool) -> Body:
        return bodies.make(self._asking, inputs, self._encoded, marks=marks)

    async def ask(self, prompt: Body, heard: Heard) -> None:
        try:
            await self._infer(prompt.sent)
        except self._grpc.aio.AioRpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from None
        # what it holds is for `builder verify`; thousands of answers are not worth their memory
        heard.append((time.perf_counter(), b""))

    def read(self, heard: Heard) -> Answer:
        return Answer()

    async def close(self) -> None:
        await self._channel.close()

    def _encoded(self, given: Tensors) -> bytes:
        asking = self._asking
        request = self._messages.ModelInferRequest(model_name=asking.model)
        for name, tensor in given.items():
            shape = [1, *tensor.shape] if asking.batched else tensor.shape
            request.inputs.add(name=name, datatype=asking.inputs[name], shape=shape)
            request.raw_input_contents.append(tensors.raw(asking.inputs[name], tensor.values))
        return bytes(request.SerializeToString())
