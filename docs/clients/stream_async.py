"""Two answers at once with asyncio, the second cancelled: pip install "tritonclient[grpc]"; Python 3.11."""

import asyncio
import json
import sys

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

SERVER = "127.0.0.1:8001"
MODEL = "smollm2"


def tensor(name, value, datatype, dtype):
    made = triton.InferInput(name, [1, 1], datatype)
    made.set_data_from_numpy(np.array([[value]], dtype=dtype))
    return made


async def stream(client, question, max_tokens=256):
    """Yield the pieces of the answer; leaving early, or cancelling the task, cancels the request."""

    async def requests():
        yield {
            "model_name": MODEL,
            "inputs": [
                tensor("messages", json.dumps([{"role": "user", "content": question}]), "BYTES", np.object_),
                tensor("max_tokens", max_tokens, "INT32", np.int32),
                tensor("stream", True, "BOOL", np.bool_),
            ],
        }

    answers = client.stream_infer(requests())
    try:
        async for result, error in answers:  # it ends after the last response
            if error:
                raise error
            yield result.as_numpy("text_output").item().decode()
    finally:
        answers.cancel()


async def ask(client, question, seconds=60.0):
    try:
        async with asyncio.timeout(seconds):
            return "".join([piece async for piece in stream(client, question)])
    except TimeoutError:
        return f"(cancelled: no whole answer within {seconds} s)"


async def main():
    async with triton.InferenceServerClient(SERVER) as client:
        answers = await asyncio.gather(
            ask(client, "What is the capital of France?"),
            ask(client, "Tell me a long story.", seconds=0.5),
        )
    print("\n".join(answers))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except InferenceServerException as error:  # the model refused
        sys.exit(f"error: {error.message()}")
    except grpc.aio.AioRpcError as error:  # the server cannot be reached
        sys.exit(f"error: {error.details()}")
