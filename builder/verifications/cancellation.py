"""A client that leaves frees its slot: the engine's own counters show that it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builder.subject import GENERATED, LOAD, Skipped, Subject, expect

ORDER = 90
SCOPE = "generation"

TOKENS = 8
STEPS = 2
SECONDS_TO_STOP = 0.015
"""What a cancel may take on its way to the engine, where a step takes less."""
TRIES = 5


def engine_counters(subject: Subject) -> str:
    """The metrics endpoint counts the engine's steps and tokens, and a request moves them by what it made."""
    subject.still_works()
    expect(subject.idle(), "the engine is not idle")
    families = ("builder_engine_steps_total", GENERATED)
    before = subject.counters(*families)
    subject.ask(subject.inputs(subject.prompt(), max_tokens=6))
    moved = subject.client.until(lambda: subject.counter(GENERATED) >= before[1] + 6, 3)
    # what is counted too often comes after what is right
    expect(subject.idle(), "the engine did not come to rest after an answer")
    after = subject.counters(*families)
    expect(moved, f"{GENERATED} went from {before[1]:.0f} to {after[1]:.0f} with 6 tokens")
    expect(after[1] - before[1] == 6, f"{after[1] - before[1]:.0f} tokens were counted for 6")
    expect(after[0] > before[0], "no step was counted")
    return f"{after[1]:.0f} tokens since start"


def _endless(subject: Subject) -> dict[str, object]:
    prompt = subject.prompt()
    room = int(subject.settings["context_length"]) - len(prompt.input_ids) - 8
    # long enough that only the cancel can end it during the check
    return subject.inputs(prompt, max_tokens=room, min_tokens=room, stream=True)


@dataclass
class _Heard:
    """How many tokens came until the client left, and from when on."""

    tokens: int = 0
    since: float = 0.0

    def add(self, tokens: int) -> None:
        self.since = self.since or time.perf_counter()
        self.tokens += tokens

    def allowed(self) -> int:
        """Return the tokens that the engine may make after the last that was heard."""
        each = (time.perf_counter() - self.since) / max(1, self.tokens)
        return max(STEPS, math.ceil(SECONDS_TO_STOP / max(each, 1e-6)))


def _leave_grpc(subject: Subject) -> tuple[int, int]:
    """Return how many tokens had arrived, and how many more the engine may make."""
    heard = _Heard()
    with subject.client.open() as stream:
        subject.client.request(stream, subject.name, _endless(subject))
        while heard.tokens < TOKENS or stream.waiting():
            _, reply, _ = stream.receive()
            heard.add(len(reply.ids) if reply is not None else 0)
        allowed = heard.allowed()
        stream.cancel()
    return heard.tokens, allowed


def _leave_http(subject: Subject) -> tuple[int, int]:
    heard = _Heard()
    with subject.client.open_http(subject.name, _endless(subject), "generate_stream") as call:
        for event in call.events():
            heard.add(_ids_in(event))
            if heard.tokens >= TOKENS:
                break
        heard.add(sum(_ids_in(event) for event in call.arrived()))
        allowed = heard.allowed()
    return heard.tokens, allowed


def _ids_in(event: dict[str, Any]) -> int:
    expect("error" not in event, f"the server answered an error: {event.get('error')}")
    ids = event.get("output_ids", [])
    return len(ids) if isinstance(ids, list) else 1


def _stops(subject: Subject, leave: Callable[[Subject], tuple[int, int]]) -> str:
    """Leave a running request and compare what the engine made with what had arrived.

    The engine may be one step ahead of the response and one more when it looks, hence two; the
    client's own delay is not the engine's, hence the best of five.
    """
    expect(subject.idle(), "the engine is not idle before the check")
    tries: list[tuple[int, int, int]] = []
    for _ in range(TRIES):
        before = subject.counter(GENERATED)
        received, allowed = leave(subject)
        expect(subject.idle(), "the request was still active 10 s after its client left")
        more = int(subject.counter(GENERATED) - before) - received
        tries.append((more - allowed, more, received))
        if more <= allowed:
            break
    late, more, received = min(tries)
    expect(
        late <= 0,
        f"the engine generated {received + more} tokens, {received} had arrived when the client left",
    )
    subject.still_works()
    return f"{received} received, {received + more} generated"


def grpc_cancel_stops_engine(subject: Subject) -> str:
    """A cancelled gRPC stream stops the engine within two steps, or 15 ms where they are shorter."""
    return _stops(subject, _leave_grpc)


def http_disconnect_stops_engine(subject: Subject) -> str:
    """A dropped HTTP connection stops the engine within two steps, or 15 ms where they are shorter."""
    return _stops(subject, _leave_http)


def cancelled_requests_are_counted(subject: Subject) -> str:
    """The engine counts the request that was cancelled."""
    family = "builder_engine_cancelled_total"
    expect(subject.idle(), "the engine is not idle before the check")
    before = subject.counter(family)
    _leave_grpc(subject)
    counted = subject.client.until(lambda: subject.counter(family) > before, 5)
    expect(counted, f"{family} stayed at {before:.0f}")
    return f"{subject.counter(family):.0f} since start"


def cancel_spares_neighbours(subject: Subject) -> str:
    """Of two requests named alike, cancelling one leaves the other its whole answer."""
    tokens = 24
    prompt = subject.prompt(tokens=tokens)
    whole = subject.whole(prompt, tokens)
    with subject.client.open() as stays, subject.client.open() as leaves:
        subject.client.request(leaves, subject.name, _endless(subject), request_id="alike")
        leaves.receive()
        inputs = subject.inputs(prompt, max_tokens=tokens, stream=True)
        subject.client.request(stays, subject.name, inputs, request_id="alike")
        _, first, ended = stays.receive()
        leaves.cancel()
        ids = list(first.ids) if first is not None else []
        while not ended:
            _, reply, ended = stays.receive()
            ids += reply.ids if reply is not None else []
    told = f"{ids}, alone {whole.ids()}"
    if subject.agree(prompt, subject.decode(ids), subject.decode(whole.ids()), told):
        expect(ids == whole.ids(), told)
    return f"{len(ids)} tokens after the neighbour left"


def waiting_request_can_be_cancelled(subject: Subject) -> str:
    """A request cancelled while it waits for a slot leaves the line."""
    active = int(subject.settings["max_active"])
    if active > 256:
        raise Skipped(f"the engine runs {active} requests at once, more than this check would send")
    expect(subject.idle(), "the engine is not idle before the check")
    held = _endless(subject)
    with subject.client.open() as running, subject.client.open() as waits:
        for number in range(active):
            subject.client.request(running, subject.name, held, request_id=f"running-{number}")
        active_now, waiting = LOAD
        runs = subject.client.until(lambda: subject.counter(active_now) >= active, 10)
        expect(runs, f"{active} requests did not become active")
        subject.client.request(waits, subject.name, held, request_id="waits")
        expect(subject.client.until(lambda: subject.counter(waiting) == 1, 5), "the request did not wait")
        waits.cancel()
        left = subject.client.until(lambda: subject.counter(waiting) == 0, 5)
        expect(left, "the cancelled request was still waiting after 5 s")
    expect(subject.idle(20), "the engine is not idle after all were cancelled")
    return f"left the line behind {active} others"


def timeout_is_honoured(subject: Subject) -> str:
    """A request's timeout ends it, before its first token and in the middle, with an error that says so."""
    for microseconds in (1, 250_000):
        answer = subject.client.stream(subject.name, _endless(subject), timeout=microseconds)
        error = subject.refused(answer, f"a timeout of {microseconds} us")
        expect("time" in error.lower(), f"the error does not speak of time: {error}")
        subject.still_works()
    expect(subject.idle(), "the engine is not idle after the timeouts")
    return "1 us and 250 ms"
