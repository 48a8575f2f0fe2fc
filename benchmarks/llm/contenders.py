"""Who takes part: our server through either door, the raw engine, vLLM's own server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from workbench import chats

from builder.measuring.task import Asking
from llm.asking import Clients
from llm.prompts import Encoding
from llm.trials import PREFIX_TOKENS, PROMPT_TOKENS, Trial

WARM_LONG = 2
"""Long prompts before those that count: a prefix that many share is known from earlier ones."""

LONG_PROCESSES = 4


class Contender(Protocol):
    """What runs trials; `warm` goes right before each."""

    name: str

    @property
    def pid(self) -> int: ...

    def warm(self, trial: Trial, repeat: int) -> None: ...

    def sample(self, trial: Trial, repeat: int) -> dict[str, Any]: ...


class Served:
    """A server, asked through one door by processes that end with the block."""

    def __init__(self, name: str, pid: int, asking: Callable[[int], Asking], encoding: Encoding) -> None:
        """`asking` gives how it is asked for so many tokens."""
        self.name, self.pid = name, pid
        self._asking, self._encoding = asking, encoding
        self._stack = ExitStack()
        self._clients: dict[int, Clients] = {}

    def warm(self, trial: Trial, repeat: int) -> None:
        """Ask as many as the trial has at once, once; of long prompts a few, so that all know the prefix."""
        if trial.prompts == "chats":
            self._chatting(trial.tokens).warm(trial.level, f"{trial.name} {repeat}")
            return
        with self._reading(trial, repeat, WARM_LONG, WARM_LONG) as clients:
            clients.warm(WARM_LONG, f"{trial.name} {repeat}")

    def sample(self, trial: Trial, repeat: int) -> dict[str, Any]:
        """Return the figures of a trial."""
        name = f"{trial.name} {repeat}"
        if trial.prompts == "chats":
            return self._chatting(trial.tokens).sample(trial, name)
        with self._reading(trial, repeat, trial.requests, LONG_PROCESSES) as clients:
            return clients.sample(trial, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _chatting(self, tokens: int) -> Clients:
        if tokens not in self._clients:
            clients = Clients(self._asking(tokens), chats.read(), "served")
            self._clients[tokens] = self._stack.enter_context(clients)
        return self._clients[tokens]

    def _reading(self, trial: Trial, repeat: int, count: int, processes: int) -> Clients:
        """Return who asks prompts that nobody has asked before."""
        alike = PREFIX_TOKENS if trial.prompts == "shared" else 0
        prompts = self._encoding.long(count, PROMPT_TOKENS, alike, f"{self.name} {repeat}")
        return Clients(self._asking(trial.tokens), prompts, processes=processes)
