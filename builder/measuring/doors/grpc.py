"""Triton's gRPC stream: one call per request, all on one channel.

Of reading whole messages with tritonclient, of threads, of a channel per worker and of raw bytes on
one channel of grpc.aio, the last costs least per response; it is what is done here.
"""

from __future__ import annotations

import struct
import time
from typing import Any

from builder.measuring import tensors
from builder.measuring.door import Answer, Heard
from builder.measuring.errors import Refused
from builder.measuring.fields import filled
from builder.measuring.task import Asking
from builder.prompt_lines import Prompt

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
WANTED = ("text_output", "num_input_tokens", "num_output_tokens")
"""What a client reads; a model that offers others besides is spared to send them."""
LARGEST_MESSAGE = 1 << 30


def create(asking: Asking) -> GrpcDoor:
    """Return the door to `asking.address`, "host:port"."""
    return GrpcDoor(asking)


class GrpcDoor:
    """See Door."""

    def __init__(self, asking: Asking) -> None:
        import grpc
        from tritonclient.grpc import service_pb2

        self._grpc, self._messages, self._asking = grpc, service_pb2, asking
        # without a deserializer responses stay bytes
        self._channel = grpc.aio.insecure_channel(
            asking.address, options=[("grpc.max_receive_message_length", LARGEST_MESSAGE)]
        )
        self._stream = self._channel.stream_stream(METHOD)

    async def ask(self, prompt: Prompt, heard: Heard) -> None:
        call = self._stream()
        try:
            await call.write(self._request(prompt))
            await call.done_writing()
            end = self._grpc.aio.EOF
            while (response := await call.read()) is not end:
                heard.append((time.perf_counter(), response))
            if await call.code() is not self._grpc.StatusCode.OK:
                raise Refused(f"{(await call.code()).name}: {await call.details()}")
        except self._grpc.aio.AioRpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from None
        finally:
            call.cancel()
        if not heard:
            raise Refused("the stream ended without a response")
        # only an error ends a stream early, and it is the last that is said
        message = self._parsed(heard[-1][1]).error_message
        if message:
            raise Refused(message)

    def read(self, heard: Heard) -> Answer:
        answer, before = Answer(), 0
        for seconds, response in heard:
            outputs = self._outputs(self._parsed(response).infer_response)
            if "num_input_tokens" in outputs:
                answer.input_tokens = _integer(outputs["num_input_tokens"])
            if "num_output_tokens" in outputs:
                count = _integer(outputs["num_output_tokens"])
                tokens, before = count - before, count
            else:
                tokens = int(len(outputs.get("text_output", b"")) > struct.calcsize("<I"))
            if tokens:
                answer.seconds.append(seconds)
                answer.tokens.append(tokens)
        return answer

    async def close(self) -> None:
        await self._channel.close()

    def _parsed(self, response: bytes) -> Any:
        return self._messages.ModelStreamInferResponse.FromString(response)

    @staticmethod
    def _outputs(response: Any) -> dict[str, bytes]:
        names = [output.name for output in response.outputs]
        return dict(zip(names, response.raw_output_contents, strict=True))

    def _request(self, prompt: Prompt) -> bytes:
        asking = self._asking
        request = self._messages.ModelInferRequest(model_name=asking.model)
        for name, value in filled(asking, prompt).items():
            datatype = asking.inputs[name]
            values = value if isinstance(value, list) else [value]
            shape = [1, len(values)] if asking.batched else [len(values)]
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(tensors.raw(datatype, values))
        for name in WANTED:
            if name in asking.outputs:
                request.outputs.add(name=name)
        return bytes(request.SerializeToString())


def _integer(raw: bytes) -> int:
    return int.from_bytes(raw[:4], "little", signed=True)
