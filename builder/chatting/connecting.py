"""Find the server and the front to chat with; boot a server when none was named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import verifying
from builder.errors import ChatError, UsageError
from builder.serve import boot
from builder.served import read_repository
from builder.triton_client import Client, TritonError

PATIENCE = 30.0
"""Seconds that calls to the server itself may take; answers have no such limit."""


@dataclass(frozen=True)
class Connection:
    """A server, one front on it, and what to do when the server goes away."""

    client: Client
    front: str
    remedy: str


@contextmanager
def connected(
    name: str | None, directory: Path, url: str | None, grpc_url: str | None
) -> Iterator[Connection]:
    """Give the running server that was named, else one booted on `directory` that ends with the block.

    Args:
        name: the front; None takes the only one.
        url, grpc_url: addresses of a running server; gRPC is the port after HTTP's when it is not named.

    Raises:
        UsageError: there is no front of that name, or the name is needed.
        ChatError: no server answers.
        ServeError, VerifyError: the repository cannot be served or read.
    """
    if url or grpc_url:
        yield _running(name, url, grpc_url)
        return
    repository = read_repository(directory)
    fronts = [front for front in repository.fronts() if _chats(repository.configs[front])]
    front = _chosen(name, fronts, str(directory))
    server = boot(directory)
    client = Client(server.http, server.grpc, server.metrics, repository.configs, PATIENCE)
    try:
        yield Connection(client, front, f"Triton's log says why: {server.log_path()}")
    except ChatError:
        server.keep_log()
        raise
    finally:
        server.kill()  # nobody else uses it, and nothing is left to finish


def _running(name: str | None, url: str | None, grpc_url: str | None) -> Connection:
    # nothing is asked over HTTP, so gRPC's address alone is enough
    grpc = _host_and_port(grpc_url) if grpc_url else verifying.addresses(url or "", None, None)[1]
    remedy = "start it again, or correct the address: `builder serve` prints it behind READY"
    client = Client("", grpc, None, {}, PATIENCE)
    if not client.alive("grpc"):
        raise ChatError(f"no server answers at grpc://{grpc}", expected="a Triton server", remedy=remedy)
    try:
        index = client.call("grpc", "get_model_repository_index")
        ready = [model.name for model in index.models if model.state == "READY"]
        configs = {model: client.call("grpc", "get_model_config", model).config for model in ready}
    except TritonError as error:
        raise ChatError(f"grpc://{grpc} does not say what it serves: {error}", remedy=remedy) from error
    front = _chosen(name, [model for model in configs if _chats(configs[model])], f"grpc://{grpc}")
    return Connection(Client("", grpc, None, configs, PATIENCE), front, remedy)


def _host_and_port(address: str) -> str:
    bare = address.rpartition("//")[2]
    if not re.fullmatch(r".+:\d+", bare):
        raise UsageError(f"--grpc-url {address}", expected="HOST:PORT")
    return bare


def _chats(config: Any) -> bool:
    return any(tensor.name == "messages" for tensor in config.input)


def _chosen(name: str | None, fronts: list[str], where: str) -> str:
    """Return the front to talk to."""
    if name is None and len(fronts) == 1:
        return fronts[0]
    if name in fronts:
        return name
    listed = ", ".join(fronts) or "none"
    if name is None:
        raise UsageError(
            f"{where} holds {len(fronts)} models to chat with: {listed}",
            expected="one, or the name of one",
            remedy="builder chat NAME" if fronts else "build one: builder build smollm2",
        )
    raise UsageError(f"{where} holds no model {name!r} to chat with", expected=f"one of: {listed}")
