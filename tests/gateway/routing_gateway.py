"""A gateway with routes: its file, rewritten as a person would, and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gateway_process
from gateway_process import Gateway
from processes import until
from prometheus_client.parser import text_string_to_metric_families

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Routed:
    """One that runs, and the file of its routes."""

    gateway: Gateway
    path: Path

    def write(self, text: str) -> None:
        """Write the file, and wait until it is in force."""
        before = self.figure("routes_last_reload_success_timestamp_seconds")
        self.path.write_text(text)
        until(lambda: self.figure("routes_last_reload_success_timestamp_seconds") > before)

    def ask(self, model: str, **fields: Any) -> tuple[int, Any]:
        return self.gateway.post(CHAT, **{"model": model, "messages": HELLO, **fields})

    def answering(self, model: str, **fields: Any) -> str:
        """Return which model answers a chat."""
        status, told = self.ask(model, **fields)
        assert status == 200, told
        return str(told["model"])

    def figure(self, name: str, *labels: str, headers: dict[str, str] = gateway_process.JSON) -> float:
        """Return a figure by its name and the values of its labels, these in the order of their names."""
        status, _, body = self.gateway.request("GET", "/metrics", None, headers)
        assert status == 200
        found = {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        return found.get((f"builder_gateway_{name}", *labels), 0.0)

    def models(self) -> dict[str, Any]:
        return {one["id"]: one for one in self.gateway.get("/v1/models")[1]["data"]}


@contextmanager
def routed(grpc: str, folder: Path, text: str, *options: str, last_words: str = "") -> Iterator[Routed]:
    """Run a gateway with these routes until the end of the block."""
    path = folder / "routes.toml"
    path.write_text(text)
    words = ("--routes", str(path), *options)
    with gateway_process.running(grpc, *words, last_words=last_words) as gateway:
        yield Routed(gateway, path)
