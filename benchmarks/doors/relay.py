"""A peer: a relay as tutorials on Triton and FastAPI have it, an endpoint that passes on what a stream says.

    python benchmarks/doors/relay.py HOST:PORT-OF-TRITON

It runs on uvicorn with uvloop and asks by tritonclient.grpc.aio. It has no errors, no limits, no usage.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpcclient
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]
    max_tokens: int = 64
    temperature: float = 1.0
    stream: bool = True


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.client = grpcclient.InferenceServerClient(sys.argv[1])
    yield
    await app.state.client.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest) -> StreamingResponse:
    return StreamingResponse(stream(request), media_type="text/event-stream")


async def stream(request: ChatRequest) -> AsyncIterator[str]:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        outputs = [grpcclient.InferRequestedOutput(name) for name in ("text_output", "finish_reason")]
        yield {"model_name": request.model, "inputs": inputs(request), "outputs": outputs}

    name, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    async for result, error in app.state.client.stream_infer(requests()):
        if error is not None:
            raise error
        text = result.as_numpy("text_output")[0, 0].decode()
        reason = result.as_numpy("finish_reason")[0, 0].decode()
        chunk = {
            "id": name,
            "object": "chat.completion.chunk",
            "created": created,
            "model": request.model,
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason or None}],
        }
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def inputs(request: ChatRequest) -> list[grpcclient.InferInput]:
    messages = json.dumps({"messages": [message.model_dump() for message in request.messages]})
    return [
        tensor("messages", np.array([[messages.encode()]], dtype=np.object_), "BYTES"),
        tensor("max_tokens", np.array([[request.max_tokens]], dtype=np.int32), "INT32"),
        tensor("temperature", np.array([[request.temperature]], dtype=np.float32), "FP32"),
        tensor("stream", np.array([[request.stream]]), "BOOL"),
    ]


def tensor(name: str, values: Any, datatype: str) -> grpcclient.InferInput:
    made = grpcclient.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


if __name__ == "__main__":
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    listening = config.bind_socket()
    print(f"READY  http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listening])
