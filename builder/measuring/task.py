"""Task: all that the generator must know to ask; it travels as JSON from one process to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from builder.errors import UsageError

LIMITS = {"--concurrency": (1, 10_000), "--rate": (0.01, 10_000)}
"""Less never ends, more is beyond one generator: either would be waited for in vain."""


@dataclass(frozen=True)
class Load:
    """How requests come: `concurrency` workers (closed) or `rate` arrivals per second (open).

    `requests` are measured, or those that begin within `seconds` when that is not 0. With `kept_up`
    others follow until the last of them has ended.
    """

    kind: str
    concurrency: int = 0
    rate: float = 0.0
    requests: int = 0
    seconds: float = 0.0
    kept_up: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return what tells this load from another."""
        return (
            {"kind": "closed", "concurrency": self.concurrency}
            if self.kind == "closed"
            else {"kind": "open", "rate": self.rate}
        )

    def title(self) -> str:
        """Return it in two words."""
        return f"{self.concurrency} at once" if self.kind == "closed" else f"{self.rate:g} per second"


def loads(
    concurrency: str | None, rate: str | None, requests: int, seconds: float, *, kept_up: bool = True
) -> tuple[Load, ...]:
    """Return a load per number in two lists separated by commas; raise UsageError for what is none."""
    sizes: dict[str, Any] = {"requests": requests, "seconds": seconds, "kept_up": kept_up}
    closed = [
        Load("closed", concurrency=int(_number("--concurrency", text, whole=True)), **sizes)
        for text in (concurrency.split(",") if concurrency is not None else ())
    ]
    rates = rate.split(",") if rate is not None else ()
    return (*closed, *(Load("open", rate=_number("--rate", text, whole=False), **sizes) for text in rates))


def shared(load: Load, processes: int) -> list[Load]:
    """Return a load as several at once, at most `processes`; together they are the load.

    A closed one is shared by its workers, each with as many of the requests as the others; an open one by its
    rate: random arrivals of several make random arrivals.
    """
    if load.kind == "open":
        requests = _parts(load.requests, processes)
        return [replace(load, rate=load.rate / processes, requests=count) for count in requests]
    workers = [count for count in _parts(load.concurrency, processes) if count]
    ends = [
        round(load.requests * sum(workers[:number]) / load.concurrency) for number in range(len(workers) + 1)
    ]
    return [
        replace(load, concurrency=count, requests=after - before)
        for count, before, after in zip(workers, ends, ends[1:], strict=False)
    ]


def _parts(total: int, count: int) -> list[int]:
    return [total // count + (number < total % count) for number in range(count)]


def _number(option: str, text: str, *, whole: bool) -> float:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = 0
    least, most = LIMITS[option]
    if not least <= number <= most:
        what = "whole numbers" if whole else "numbers"
        raise UsageError(
            f"{option}: {text!r}", expected=f"{what} from {least} to {most:,}, separated by commas"
        )
    return number


@dataclass(frozen=True)
class Asking:
    """Which door, where it is, and what every request says beside its prompt.

    Args:
        door: a file of `doors/`, the one with "_infer" behind it for a model that answers once.
        address: "host:port" of Triton's gRPC or HTTP, or the URL of the chat completions.
        model: its name on the server.
        fields: what every request carries, by name.
        inputs: dtype of every input that the model declares; Triton's names without "TYPE_".
        outputs: the outputs that the model declares.
        batched: whether tensors carry a batch dimension.
        headers: HTTP headers, such as the key.
        streams: whether answers come token by token, else as one response.
        dims: sizes of every input without the batch, of a model that answers once.
    """

    door: str
    address: str
    model: str
    fields: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    batched: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = True
    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What stays the same over all runs of a measurement.

    `prompts` are lists of chat messages or plain texts, or inputs by name for a model that answers once.
    `salt` makes the mark that each prompt is
    given unique to this measurement; without it prompts are sent as they stand. `patience` is the
    seconds without any response after which a request is given up.
    """

    asking: Asking
    prompts: tuple[Any, ...]
    seed: int
    salt: str
    patience: float
