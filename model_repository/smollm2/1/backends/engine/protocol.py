"""The seam between the front model and whatever generates tokens.

One file per engine stands beside this one, named by the `engine` value of settings.json, and
offers `create(settings, folder) -> Engine`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Guide:
    """What a text must be.

    `kind` is "json" (any object), "json_schema", "regex" (of the whole text) or "ebnf_grammar", the names of
    TensorRT-LLM's executor (GuidedDecodingParams.GuideType); `text` is the schema, expression or grammar, ""
    for "json". A sequence that can go no further ends with "stop", whatever `min_tokens` says.
    """

    kind: str
    text: str = ""


MOST_PRIORITY = 100
DEFAULT_PRIORITY = 50
"""Of requests that say nothing, so that others may go before them or let them go first."""


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token; the defaults are greedy.

    `max_tokens` counts generated tokens; penalties follow OpenAI's definitions except
    `repetition_penalty`, which follows CTRL (arXiv:1909.05858). `end_ids` end a sequence and are
    not part of its text.
    """

    max_tokens: int
    end_ids: frozenset[int] = frozenset()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    bad_ids: tuple[tuple[int, ...], ...] = ()
    log_probs: bool = False
    top_log_probs: int = 0
    """Of how many of the likeliest tokens to tell at each place."""
    guide: Guide | None = None
    priority: int = DEFAULT_PRIORITY
    """1 to MOST_PRIORITY: the smaller goes first where requests wait, equals in the order of their coming."""
    adapter: str = ""
    """The name of a LoRA adapter of the deployment, "" for the model alone."""
    deadline: float | None = None
    """`time.monotonic()` seconds after which the request ends with DeadlineExceeded."""


Top = tuple[tuple[int, float], ...]
"""(id, log probability) of the likeliest tokens at one place, likeliest first."""


class Step(NamedTuple):
    """What one engine step adds to one sequence; `finish_reason` is stop, length or cancelled on the last.

    `log_probs` and `tops` have an entry for each id where they were asked for, natural logarithms of what the
    unchanged logits say. `waited` is how many seconds the sequence stood in line, told by its first step if
    the engine knows.
    """

    ids: tuple[int, ...]
    log_probs: tuple[float, ...] = ()
    finish_reason: str | None = None
    waited: float | None = None
    tops: tuple[Top, ...] = ()


@dataclass(frozen=True)
class Health:
    """Counters since start, and how many requests are running and waiting now.

    `cache_used` is the share of the KV cache that running requests hold; `prefix_queries` are prompt tokens
    that were looked up in it, `prefix_hits` those that were found. Engines that do not know say 0.
    """

    active: int
    waiting: int
    steps: int
    generated_tokens: int
    cancelled: int
    failure: str | None = None
    cache_used: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0


class EngineError(Exception):
    """The engine cannot serve this request; the text is for the client."""


class InvalidRequest(EngineError):
    """The request is wrong: a parameter out of range or not offered by this engine."""


class Overloaded(EngineError):
    """Every slot and the whole waiting line are taken."""


class DeadlineExceeded(EngineError):
    """The request's time ran out while it waited or ran."""


class Engine(Protocol):
    """Generates token ids for many requests at once; every method is safe from any thread.

    An engine that could honour an input of `unsupported` if only something were there has also `lacking`,
    input -> what is not there, for clients. One that knows of a request when `generate` returns, and not
    only when its steps are asked for, has `knows_at_once = True`.
    """

    name: str
    unsupported: frozenset[str]
    """Front inputs that this engine cannot honour; the front refuses them by name."""

    def generate(self, request: str, ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Step]:
        """Yield steps until one carries a finish reason.

        Raises InvalidRequest, Overloaded (before the first step, or at once) or DeadlineExceeded.
        Closing the iterator aborts the request, and so does `abort` before it is read.
        """
        ...

    async def score(self, ids: Sequence[int]) -> list[float]:
        """Return log p(ids[i] | ids[:i]) for i >= 1, natural logarithm."""
        ...

    def abort(self, request: str) -> None:
        """End the request after its current step at the latest; unknown names are ignored."""
        ...

    def health(self) -> Health:
        """Return the counters now."""
        ...

    def close(self) -> None:
        """Finish requests in flight, then free the model."""
        ...


class EngineModule(Protocol):
    """What a file beside this one offers.

    One whose engine is another model of Triton's has `WARMS_UP = False`: it cannot be asked while the front
    loads.
    """

    def create(self, settings: Mapping[str, Any], folder: Path) -> Engine:
        """Load the model under `folder` as settings.json says."""
        ...
