"""Place: a server that is measured, how it is asked, and where it tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.errors import UsageError
from builder.measuring import asks, counters, fields, front, kinds, memory, prompts
from builder.measuring.errors import MeasureError
from builder.measuring.front import Front
from builder.measuring.task import Asking

COMPLETIONS = "/chat/completions"


@dataclass(frozen=True)
class Place:
    """A server, and how it is asked.

    `http` and `metrics` are a Triton's "host:port", "" for other servers; `port` is one it listens on.
    `front` is None for other servers; `repository` is the folder that is served, where it is at hand.
    """

    name: str
    url: str
    asking: Asking
    host: str
    port: int
    http: str = ""
    metrics: str = ""
    front: Front | None = None
    repository: Path | None = None

    @property
    def kind(self) -> kinds.Kind:
        """Return which figures its runs have."""
        return kinds.kind(streams=self.asking.streams)

    def prompts(self, path: Path | None) -> tuple[tuple[Any, ...], str]:
        """Return what it is to be asked, and whence that is; `path` is a file of JSON lines.

        Raises UsageError for a file that does not suit the model, or when it can be asked nothing else.
        """
        if self.front is None or self.front.streams:
            return prompts.read(path or prompts.SHIPPED), str(path or "shipped")
        return asks.read(self.front, path, self.repository, self.asking.fields)

    def batches(self) -> counters.Counts:
        """Return how often each of its models has worked so far."""
        return counters.batches(self.http) if self.http else {}

    def memory(self) -> dict[str, dict[str, float]]:
        """Return what it takes now, MB; empty where that cannot be seen from here."""
        return {
            "cpu_mb": memory.used(self.port) if memory.is_local(self.host) else {},
            "gpu_mb": counters.gpu_memory(self.metrics) if self.metrics else {},
        }


def triton(
    http: str,
    grpc: str,
    metrics: str,
    *,
    door: str,
    name: str | None,
    output_tokens: int,
    extra: Mapping[str, Any],
    repository: Path | None = None,
) -> Place:
    """Return a model of a Triton, its inputs as the server itself declares them.

    Every request asks for exactly `output_tokens` of a model that streams, where it knows min_tokens. Raises
    UsageError for an extra input that the model does not have, and whatever `front.find` raises.
    """
    found = front.find(http, name, asks.published(repository))
    wanted: dict[str, Any] = {"max_tokens": output_tokens, "min_tokens": output_tokens, "stream": True}
    carried = {key: value for key, value in wanted.items() if found.streams and key in found.inputs}
    for key, value in extra.items():
        found.require_input(key, "--extra")
        if found.streams or value is None:
            fields.require_fits(key, found.inputs[key], value)
        else:
            asks.require_fits(found, key, value, "--extra")
    carried |= extra
    asking = Asking(
        door=door,
        address=grpc if door == "grpc" else http,
        model=found.name,
        fields={key: value for key, value in carried.items() if value is not None},
        inputs=found.inputs,
        outputs=found.outputs,
        batched=found.batched,
        streams=found.streams,
        dims=found.dims if not found.streams else {},
    )
    host, port = _host_and_port(f"http://{http}")
    url = f"grpc://{grpc}" if door == "grpc" else f"http://{http}"
    return Place(found.name, url, asking, host, port, http, metrics, found, repository)


def require_grpc(address: str) -> None:
    """Raise MeasureError when no Triton answers there over gRPC: its port may be another than the next."""
    from builder.triton_client.client import Client

    if not Client(address, address, None, {}).alive("grpc"):
        raise MeasureError(
            f"no Triton answers over gRPC at {address}",
            expected="the gRPC port of the server at --url",
            remedy="--grpc-url HOST:PORT names it, --door http needs none",
        )


def openai(url: str, *, model: str, key: str | None, output_tokens: int, extra: Mapping[str, Any]) -> Place:
    """Return a model behind an OpenAI endpoint; `url` may end at the host, at /v1, or at the completions."""
    address = url.rstrip("/")
    host, port = _host_and_port(address)
    if not address.endswith(COMPLETIONS):
        address += COMPLETIONS if urlsplit(address).path else f"/v1{COMPLETIONS}"
    carried = {"max_tokens": output_tokens, "temperature": 0, **extra}
    asking = Asking(
        door="openai",
        address=address,
        model=model,
        fields={key: value for key, value in carried.items() if value is not None},
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
    return Place(model, address, asking, host, port)


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:  # a port that is no number
        port = 0
    if not parts.hostname or not port or parts.scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not the address of a server", expected="http://HOST:PORT")
    return parts.hostname, port
