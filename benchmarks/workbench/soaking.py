"""Clients that come, listen, and sometimes leave; and what the server held meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from workbench import chats, deployment, memory, numbers
from workbench.deployment import Deployment

ACTIVE = "builder_engine_active_requests"
WAITING = "builder_engine_waiting_requests"
CANCELLED = "builder_engine_cancelled_total"
SECONDS_BETWEEN_SAMPLES = 1.0
MOST_SECONDS_TO_THINK = 0.5
PATIENCE = 120.0


@dataclass(frozen=True)
class Habits:
    """How the clients behave; one seed gives the same chats, lengths, pauses and departures.

    `http_share` come over generate_stream, where who leaves hangs up; `left_behind` is how many more tokens
    one that leaves had asked for: so many are not made before it is noticed.
    """

    chats: int
    concurrency: int
    cancel_share: float
    tokens: int
    seed: int
    http_share: float = 0.0
    left_behind: int = 32


@dataclass(frozen=True)
class Visit:
    """One chat: how long an answer it asks for, after how many tokens it leaves (0: never), its pause."""

    messages: str
    tokens: int
    leaves_after: int
    pause: float
    over_http: bool = False


@dataclass(frozen=True)
class Holding:
    """What the server held at one moment: seconds since the start, chats done, MB, requests."""

    seconds: float
    chats: int
    pss_mb: float
    rss_mb: float
    shared_mb: float
    active: float
    waiting: float

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 2) for name, value in asdict(self).items()}


@dataclass
class Outcome:
    """What came of all visits."""

    done: int = 0
    cancelled: int = 0
    wrong_lengths: int = 0
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[Holding] = field(default_factory=list)


def visits(habits: Habits) -> list[Visit]:
    """Return every visit of a soak."""
    dice = random.Random(habits.seed)
    texts = [json.dumps(chat) for chat in chats.read()]
    made = []
    for _ in range(habits.chats):
        tokens = dice.randint(1, habits.tokens)
        leaves = dice.random() < habits.cancel_share
        leaves_after = dice.randint(1, tokens) if leaves else 0
        pause = dice.uniform(0, MOST_SECONDS_TO_THINK)
        asked = leaves_after + habits.left_behind if leaves else tokens
        text = dice.choice(texts)
        over_http = habits.http_share > 0 and dice.random() < habits.http_share
        made.append(Visit(text, asked, leaves_after, pause, over_http))
    return made


async def soak(served: Deployment, habits: Habits) -> Outcome:
    """Make all visits, `concurrency` clients at a time, and sample the server until they are done."""
    from tritonclient.grpc.aio import InferenceServerClient

    outcome = Outcome()
    waiting = iter(visits(habits))
    async with InferenceServerClient(served.grpc) as client, _session() as session:

        def counts(visit: Visit) -> AsyncIterator[tuple[int, bool]]:
            return _over_http(session, served, visit) if visit.over_http else _over_grpc(client, visit)

        async def come() -> None:
            for visit in waiting:
                await asyncio.sleep(visit.pause)
                await _visit(counts(visit), visit, outcome)

        sampling = asyncio.create_task(_sample(served, outcome))
        await asyncio.gather(*(come() for _ in range(habits.concurrency)))
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    return outcome


def figures_of(outcome: Outcome, seconds: float) -> dict[str, float]:
    """Return the figures that the visits and samples give."""
    times = [one.seconds for one in outcome.samples]
    held = numbers.growth(times, [one.pss_mb for one in outcome.samples])
    shared = numbers.growth(times, [one.shared_mb for one in outcome.samples])
    last = outcome.samples[-1].pss_mb if outcome.samples else 0.0
    # a leak shows in both; what shows in one only is a step or a wave
    grown = min(held.values())
    return {
        "chats": outcome.done,
        "cancelled": outcome.cancelled,
        "errors": sum(outcome.errors.values()),
        "wrong_lengths": outcome.wrong_lengths,
        "tokens_per_second": outcome.tokens / seconds,
        "memory_mb": last,
        "memory_growth_mb": grown,
        "memory_growth_share": grown / last if last else 0.0,
        "memory_growth_by_slope_mb": held["by_slope"],
        "memory_growth_start_to_end_mb": held["start_to_end"],
        "shared_memory_growth_mb": min(shared.values()),
    }


def _session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(sock_read=PATIENCE)
    )


async def _visit(counts: AsyncIterator[tuple[int, bool]], visit: Visit, outcome: Outcome) -> None:
    received = 0
    try:
        async with aclosing(counts):  # type: ignore[type-var]
            async for count, final in counts:
                received += count
                if visit.leaves_after and received >= visit.leaves_after:
                    outcome.cancelled += 1
                    break
                if final:
                    outcome.wrong_lengths += received != visit.tokens
                    break
    except Exception as failure:
        outcome.errors[f"{type(failure).__name__}: {failure}"[:300]] += 1
    outcome.done += 1
    outcome.tokens += received


async def _over_grpc(client: Any, visit: Visit) -> AsyncIterator[tuple[int, bool]]:
    """Yield the tokens of each response and whether it was the last; who leaves cancels the call."""
    answers = client.stream_infer(_request(visit), stream_timeout=PATIENCE)
    try:
        async for result, error in answers:
            if error is not None:
                raise RuntimeError(str(error))
            ids = result.as_numpy("output_ids")
            yield (0 if ids is None else int(ids.size)), _final(result)
    finally:
        answers.cancel()


async def _over_http(session: Any, served: Deployment, visit: Visit) -> AsyncIterator[tuple[int, bool]]:
    """Yield the tokens of each event, and at the end that it was the last; who leaves hangs up."""
    limits = {"max_tokens": visit.tokens, "min_tokens": visit.tokens, "stream": True}
    url = f"http://{served.http}/v2/models/{deployment.NAME}/generate_stream"
    async with session.post(url, json={"messages": visit.messages, **limits}) as response:
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {await response.text()}")
        try:
            before = 0
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line[5:])
                if "error" in event:
                    raise RuntimeError(event["error"])
                count, before = int(event["num_output_tokens"]) - before, int(event["num_output_tokens"])
                yield count, False
            yield 0, True
        finally:
            response.close()


def _final(result: Any) -> bool:
    parameters = result.get_response().parameters
    return "triton_final_response" in parameters and bool(parameters["triton_final_response"].bool_param)


async def _request(visit: Visit) -> AsyncIterator[dict[str, Any]]:
    from tritonclient.grpc import InferInput

    fields: dict[str, tuple[str, Any]] = {
        "messages": ("BYTES", np.array([[visit.messages.encode()]], dtype=np.object_)),
        "max_tokens": ("INT32", np.array([[visit.tokens]], dtype=np.int32)),
        "min_tokens": ("INT32", np.array([[visit.tokens]], dtype=np.int32)),
        "stream": ("BOOL", np.array([[True]])),
    }
    inputs = []
    for name, (kind, value) in fields.items():
        inputs.append(InferInput(name, list(value.shape), kind).set_data_from_numpy(value))
    yield {"model_name": deployment.NAME, "inputs": inputs, "enable_empty_final_response": True}


async def _sample(served: Deployment, outcome: Outcome) -> None:
    started = time.monotonic()
    while True:
        holding = await asyncio.to_thread(_look, served, time.monotonic() - started, outcome.done)
        outcome.samples.append(holding)
        await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)


def _look(served: Deployment, seconds: float, done: int) -> Holding:
    held = memory.megabytes(served.pid)
    counters = deployment.metrics(served)
    return Holding(
        seconds,
        done,
        held["pss"],
        held["rss"],
        memory.shared_megabytes(served.pid),
        counters[ACTIVE],
        counters[WAITING],
    )
