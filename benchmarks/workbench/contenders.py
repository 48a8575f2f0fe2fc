"""Contenders: whatever can be asked for a sample of its speed at one concurrency."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workbench import deployment
from workbench.children import Peer
from workbench.deployment import Deployment

WARM_UP = 3
"""Requests before every sample, one by one: whoever stood still while others ran begins slowly."""


@dataclass(frozen=True)
class Work:
    """What one sample asks: every chat once, `concurrency` at a time, exactly `tokens` ids each.

    `file` holds the chats as `builder measure` reads them, `prompts` the same chats as ids.
    """

    concurrency: int
    tokens: int
    file: Path
    prompts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Sample:
    """What one run gave; time to first token in ms, the median of its requests."""

    tokens_per_second: float
    ttft_ms: float
    detail: Any = None


class Contender(Protocol):
    """One row's engine at one of its settings."""

    @property
    def settings(self) -> dict[str, Any]: ...

    def sample(self, work: Work) -> Sample: ...


@dataclass(frozen=True)
class Raw:
    """A library in a loop of its own, `share` of the concurrency in one batch."""

    peer: Peer
    loaded: dict[str, Any]
    share: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        return self.loaded | {"batch": "all" if self.share == 1 else f"all / {self.share}"}

    def sample(self, work: Work) -> Sample:
        batch = max(1, work.concurrency // self.share)
        prompts = [list(ids) for ids in work.prompts]
        self.peer.ask({"prompts": prompts[:WARM_UP], "tokens": work.tokens, "batch": 1})
        answer = self.peer.ask({"prompts": prompts, "tokens": work.tokens, "batch": batch})
        wanted = len(work.prompts) * work.tokens
        if answer["tokens"] != wanted:
            raise SystemExit(f"{self.peer.name} generated {answer['tokens']} tokens, {wanted} were asked for")
        return Sample(answer["tokens"] / answer["seconds"], answer["ttft_ms"])


@dataclass(frozen=True)
class Served:
    """A server, measured by `builder measure` whoever's it is; `door` are its options that name it."""

    name: str
    door: Callable[[], list[str]]
    loaded: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        return self.loaded

    def sample(self, work: Work) -> Sample:
        document = deployment.measure(*self.door(), *_load(work))
        run = document["runs"][0]
        if run["errors"]:
            raise SystemExit(f"{self.name}: {run['errors']} errors: {run['error_messages']}")
        made = run["output_tokens"]["mean"]
        if abs(made - work.tokens) > 1:
            raise SystemExit(f"{self.name} generated {made} tokens an answer, {work.tokens} were asked for")
        return Sample(run["tokens_per_second"], run["ttft_ms"]["p50"], run)


def _load(work: Work) -> list[str]:
    return [
        *("--concurrency", str(work.concurrency)),
        *("--requests", str(len(work.prompts))),
        *("--output-tokens", str(work.tokens)),
        *("--prompts", str(work.file)),
        # a library reads exactly these prompts too
        *("--no-keep-up", "--warm-up", str(WARM_UP), "--no-marks", "--seed", "0", "--patience", "300"),
    ]


def ours(served: Deployment) -> Served:
    """Return our deployment, asked by gRPC."""
    door = [deployment.NAME, "--url", f"http://{served.http}"]
    door += ["--grpc-url", served.grpc, "--metrics-url", served.metrics]
    return Served("builder", lambda: door, {"door": "grpc"})


def openai(peer: Peer, settings: dict[str, Any]) -> Served:
    """Return a peer's OpenAI endpoint; it may still be loading."""

    def door() -> list[str]:
        hello = peer.hello()
        return ["--openai", hello["url"], "--model", deployment.NAME, "--extra", json.dumps(hello["body"])]

    return Served(peer.name, door, settings)
