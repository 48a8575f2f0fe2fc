"""How fast the load generator alone hears: servers that only send what was written before.

Run as `python -m llm.ceiling PORT DOOR`: one process of several that listen on the same port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from workbench import chats
from workbench.children import BENCHMARKS

from builder.measuring.task import Asking
from llm.asking import PROCESSES, Clients
from llm.stage import Stage
from llm.trials import CLOSED, Trial

MODEL = "ceiling"
TOKENS = 256
LEVEL = 256
REPEATS = 3
DOORS = ("grpc", "http")
_INPUTS = {"messages": "BYTES", "max_tokens": "INT32", "stream": "BOOL"}
_OUTPUTS = ("text_output", "num_input_tokens", "num_output_tokens")


def part(stage: Stage, keep: Callable[[Mapping[str, Any]], None]) -> None:
    """Ask servers that have nothing to compute, with as many processes as everyone else is asked with."""
    processes = 2 if stage.rehearses else PROCESSES
    level, requests = (4, 256) if stage.rehearses else (LEVEL, 4 * LEVEL)
    trial = Trial(level, CLOSED, requests, TOKENS)
    rows = []
    for door in DOORS:
        with listening(door, processes) as address, _clients(door, address, processes) as clients:
            clients.warm(level, door)
            samples = []
            for repeat in range(1 if stage.rehearses else REPEATS):
                samples.append({"repeat": repeat, **clients.sample(trial, f"{door} {repeat}")})
        shape = {"shape": trial.shape, "concurrency": level, "tokens": TOKENS, "prompts": trial.prompts}
        rows.append({"model": MODEL, "row": door, **shape, "samples": samples})
        keep({"rows": rows, "processes": processes})


def _clients(door: str, address: str, processes: int) -> Clients:
    fields = {"max_tokens": TOKENS, "stream": True}
    asking = Asking(door, address, MODEL, fields, _INPUTS, _OUTPUTS, batched=True)
    return Clients(asking, chats.read(), "ceiling", processes)


@contextmanager
def listening(door: str, processes: int) -> Iterator[str]:
    """Give "host:port" at which so many processes answer."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # bound and never listening: the port stays ours until the others have it
        kept.bind(("127.0.0.1", 0))
        port = int(kept.getsockname()[1])
        command = [sys.executable, "-m", "llm.ceiling", str(port), door]
        started = [
            subprocess.Popen(command, cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise SystemExit(f"a server of {door} ended with code {process.wait()}")
            yield f"127.0.0.1:{port}"
        finally:
            for process in started:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


def grpc_messages() -> list[bytes]:
    """Return the responses of one answer, as our front's look on the wire."""
    from tritonclient.grpc import service_pb2

    found = []
    for number in range(1, TOKENS + 1):
        response = service_pb2.ModelInferResponse(model_name=MODEL, model_version="1")
        for name, kind, raw in (
            ("text_output", "BYTES", (5).to_bytes(4, "little") + b" word"),
            ("num_input_tokens", "INT32", (40).to_bytes(4, "little")),
            ("num_output_tokens", "INT32", number.to_bytes(4, "little")),
        ):
            response.outputs.add(name=name, datatype=kind, shape=[1, 1])
            response.raw_output_contents.append(raw)
        found.append(service_pb2.ModelStreamInferResponse(infer_response=response).SerializeToString())
    return found


def http_events() -> list[bytes]:
    """Return the events of one answer, as generate_stream's look, each a chunk of the body."""
    found = []
    for number in range(1, TOKENS + 1):
        fields = {"model_name": MODEL, "model_version": "1", "num_input_tokens": 40}
        event = f"data: {json.dumps({**fields, 'num_output_tokens': number, 'text_output': ' word'})}\n\n"
        found.append(b"%x\r\n%s\r\n" % (len(event), event.encode()))
    return [*found, b"0\r\n\r\n"]


async def serve_grpc(port: int) -> None:
    """Answer ModelStreamInfer for ever."""
    import grpc

    messages = grpc_messages()

    async def answer(requests: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests:
            for message in messages:
                await context.write(message)

    handler = grpc.stream_stream_rpc_method_handler(answer)
    service = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ModelStreamInfer": handler}
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def serve_http(port: int) -> None:
    """Answer every POST for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = http_events()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                sizes = [line for line in asked.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(sizes[0].partition(b":")[2]))
                writer.write(head)
                for event in events:
                    writer.write(event)
                    await writer.drain()
                    # each on its own, as one that is made when it is sent
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, reuse_port=True)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    serve: Any = {"grpc": serve_grpc, "http": serve_http}[sys.argv[2]]
    asyncio.run(serve(int(sys.argv[1])))
