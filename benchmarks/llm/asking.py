"""The load generator of `builder measure`, several processes of it, with all that each of them heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from workbench.deployment import Deployment

from builder.measuring import place, statistics, told
from builder.measuring.generators import Together
from builder.measuring.task import Asking, Load, Task
from builder.measuring.told import Told
from llm.trials import BATCH, CLOSED, Trial

PROCESSES = 8
PATIENCE = 60.0
WHATEVER = {"end_id": -1, "min_tokens": None}
"""What makes our front go on to max_tokens, without a rule that holds the end back."""


class Failed(Exception):
    """A sample that is none; the text says why."""


def ours(served: Deployment, name: str, door: str, tokens: int) -> Asking:
    """Return how our front is asked, by "grpc" or "http" (generate_stream)."""
    found = place.triton(
        served.http, served.grpc, served.metrics, door=door, name=name, output_tokens=tokens, extra=WHATEVER
    )
    return found.asking


def openai(url: str, name: str, tokens: int) -> Asking:
    """Return how the chat completions of a vLLM server are asked."""
    body = {"ignore_eos": True, "skip_special_tokens": False}
    return place.openai(url, model=name, key=None, output_tokens=tokens, extra=body).asking


class Clients(Together):
    """Generators that ask one server as one; they end with the block.

    With a `salt` each prompt is marked, so that no cache knows it. Without one each process takes its share
    of the prompts, and no two ask the same.
    """

    def __init__(self, asking: Asking, prompts: Sequence[Any], salt: str = "", processes: int = PROCESSES):
        task = Task(asking, tuple(prompts), 0, salt, PATIENCE)
        shares = [task.prompts if salt else task.prompts[number::processes] for number in range(processes)]
        # each goes through the prompts in an order of its own
        super().__init__(replace(task, prompts=share, seed=number) for number, share in enumerate(shares))

    def warm(self, requests: int, name: str) -> None:
        """Ask for what is reported nowhere."""
        load = Load("closed", concurrency=requests, requests=requests, kept_up=False)
        self.hear(load, f"warm-up {name}", _unseen)

    def sample(self, trial: Trial, name: str) -> dict[str, Any]:
        """Run a trial and return its figures; raise Failed when a request fails."""
        kept_up = trial.shape == CLOSED and trial.prompts == "chats"
        load = Load("closed", concurrency=trial.level, requests=trial.requests, kept_up=kept_up)
        return sample_of(joined(self.hear(load, name, _unseen), trial.shape), trial)


def _unseen(share: float) -> None:
    """Show no progress: a record is written, nobody watches."""


def joined(parts: Sequence[Told], shape: str) -> Told:
    """Return what several heard as one.

    A batch lasts from its first request to its last token, as a call of LLM.generate does: to close the
    connections afterwards brings none.
    """
    whole = told.joined(parts)
    if shape != BATCH:
        return whole
    last = [asked.last for asked in whole.requests if asked.last is not None]
    ended = max(last, default=max(one.ended for one in parts))
    return replace(whole, started=min(one.started for one in parts), ended=ended)


def sample_of(heard: Told, trial: Trial) -> dict[str, Any]:
    """Return the figures of a run, times in ms; raise Failed for an answer that failed or was short."""
    found = statistics.describe(heard)
    if not found["seconds"]:
        raise Failed(f"{trial.name}: no moment at which all generators asked; more requests are needed")
    if found["errors"] or heard.gave_up:
        raise Failed(f"{trial.name}: {found['errors']} errors: {found['error_messages']}")
    made = found["output_tokens"]["mean"]
    if abs(made - trial.tokens) > 1:
        raise Failed(f"{trial.name}: {made} tokens an answer, {trial.tokens} were asked for")
    responses = [count for asked in heard.requests if asked.measured for count in asked.answer.tokens]
    moments = [at for asked in heard.requests for at in asked.answer.seconds]
    arrived = sum(heard.started <= at <= heard.ended for at in moments)
    return {
        "tokens_per_second": found["tokens_per_second"],
        "seconds": found["seconds"],
        "ttft_ms": found["ttft_ms"],
        "itl_ms": found["itl_ms"],
        "tokens_per_response": median(responses),
        "responses_per_second": round(arrived / found["seconds"], 1),
        "input_tokens": (found["input_tokens"] or {}).get("mean"),
        "generator_cpu_share": heard.cpu_share,
    }
