"""Stream one answer over gRPC: pip install "tritonclient[grpc]"; Ctrl-C stops it."""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

SERVER = "127.0.0.1:8001"
MODEL = "smollm2"


def tensor(name, value, datatype, dtype):
    made = triton.InferInput(name, [1, 1], datatype)
    made.set_data_from_numpy(np.array([[value]], dtype=dtype))
    return made


def stream(question, max_tokens=256):
    """Yield the pieces of the answer; leaving early cancels the request on the server."""
    inputs = [
        tensor("messages", json.dumps([{"role": "user", "content": question}]), "BYTES", np.object_),
        tensor("max_tokens", max_tokens, "INT32", np.int32),
        tensor("stream", True, "BOOL", np.bool_),
    ]
    answers = queue.SimpleQueue()
    ended = False
    client = triton.InferenceServerClient(SERVER)
    client.is_server_live()  # says why when it cannot be reached
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        client.async_stream_infer(MODEL, inputs, enable_empty_final_response=True)
        while not ended:
            result, error = answers.get()
            if error:
                raise error
            ended = result.get_response().parameters["triton_final_response"].bool_param
            if not ended:  # the final response is empty
                yield result.as_numpy("text_output").item().decode()
    finally:
        client.stop_stream(cancel_requests=not ended)
        client.close()


if __name__ == "__main__":
    try:
        for piece in stream(" ".join(sys.argv[1:]) or "What is the capital of France?"):
            print(piece, end="", flush=True)
        print()
    except InferenceServerException as error:
        sys.exit(f"\nerror: {error.message()}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
