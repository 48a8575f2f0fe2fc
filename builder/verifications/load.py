"""Many requests, one after another and at once, each get their own answer."""

from __future__ import annotations

from typing import Any

from builder.subject import LOAD, Skipped, Subject, expect, together
from builder.triton_client import Answer, TritonError

ORDER = 80
SCOPE = "generation"

MANY = 1024
"""Admission limits above this are not filled up: the attempt would be a load test."""


def alone_equals_among_sixteen(subject: Subject) -> str:
    """An answer among sixteen requests at once is the answer given alone, ties within epsilon aside."""
    tokens = 6
    prompts = list(subject.golden.prompts)
    among = [prompts[index % len(prompts)] for index in range(16)]
    answers = together(lambda prompt: subject.ask(subject.inputs(prompt, max_tokens=tokens)), among)
    parted = [
        prompt.id
        for prompt, answer in zip(among, answers, strict=True)
        if not subject.follows(prompt, answer.ids(), tokens)
    ]
    for prompt, answer in list(zip(among, answers, strict=True))[:4]:
        alone = subject.whole(prompt, tokens)
        subject.follows(prompt, alone.ids(), tokens)
        told = f"{answer.text()!r} among 16, {alone.text()!r} alone"
        subject.agree(prompt, answer.text(), alone.text(), told)
    return f"16 answers, {len(parted)} accepted as ties (gap <= {subject.golden.epsilon:g})"


def fifty_in_a_row(subject: Subject) -> str:
    """Fifty requests one after another are all answered rightly."""
    prompts = subject.golden.steady(3, 1)
    for index in range(50):
        prompt = prompts[index % len(prompts)]
        answer = subject.ask(subject.inputs(prompt, max_tokens=1))
        subject.follows(prompt, answer.ids(), 1)
        expect(len(answer.ids()) == 1, f"request {index}: {len(answer.ids())} ids, expected 1")
    return "50 answers"


def thirty_two_at_once(subject: Subject) -> str:
    """Thirty-two requests at once, streamed and whole, over gRPC and HTTP, are all answered rightly."""
    prompts = subject.golden.steady(4, 3)

    def ask(index: int) -> Answer:
        prompt = prompts[index % len(prompts)]
        inputs = subject.inputs(prompt, max_tokens=3, stream=bool(index % 4 > 1))
        if index % 2:
            return subject.good(subject.client.generate_stream(subject.name, inputs))
        return subject.ask(inputs)

    answers = together(ask, range(32))
    for index, answer in enumerate(answers):
        subject.follows(prompts[index % len(prompts)], answer.ids(), 3)
    return "32 answers"


def same_request_id_twice(subject: Subject) -> str:
    """Two clients that use the same request id at once get each its own answer."""
    _own_answers(subject, request_id="the-same")
    return "2 x 4 requests named alike"


def no_request_id(subject: Subject) -> str:
    """Clients that give no request id at all get each their own answer."""
    _own_answers(subject, request_id="")
    return "2 x 4 requests without a name"


def _own_answers(subject: Subject, **options: Any) -> None:
    tokens = 6
    prompts = _different(subject, tokens)

    def ask(index: int) -> Answer:
        return subject.ask(subject.inputs(prompts[index % 2], max_tokens=tokens, stream=True), **options)

    answers = together(ask, range(8))
    for index, answer in enumerate(answers):
        prompt = prompts[index % 2]
        subject.follows(prompt, answer.ids(), tokens)
        alone = subject.whole(prompt, tokens).text()
        subject.agree(
            prompt, answer.text(), alone, f"prompt {prompt.id!r}: {answer.text()!r}, alone {alone!r}"
        )


def _different(subject: Subject, tokens: int) -> list[Any]:
    prompts = subject.golden.steady(len(subject.golden.prompts), tokens)
    first = prompts[0]
    other = [prompt for prompt in prompts if prompt.output_ids[:tokens] != first.output_ids[:tokens]]
    if not other:
        raise Skipped("all golden answers begin alike")
    return [first, other[0]]


def overload_is_refused(subject: Subject) -> str:
    """Beyond max_active and max_waiting requests are refused at once, and those admitted are answered."""
    room = int(subject.settings["max_active"]) + int(subject.settings["max_waiting"])
    if room > MANY:
        raise Skipped(f"the engine admits {room} requests, more than the {MANY} this check would send")
    expect(subject.idle(), "the engine is not idle before the check")
    prompt = subject.prompt()
    endless = int(subject.settings["context_length"]) - len(prompt.input_ids) - 8
    held = subject.inputs(prompt, max_tokens=endless, min_tokens=endless, stream=True)
    with subject.client.open() as stream:
        for number in range(room):
            subject.client.request(stream, subject.name, held, request_id=f"held-{number}")
        expect(
            subject.client.until(lambda: _admitted(subject) >= room, 10),
            f"{_admitted(subject):.0f} of {room} requests were admitted",
        )
        refused = together(
            lambda tokens: subject.client.stream(subject.name, subject.inputs(prompt, max_tokens=tokens)),
            [2, 2, 2, 2],
        )
        stream.cancel()
    for answer in refused:
        subject.refused(answer, f"one request beyond {room}")
    expect(subject.idle(20), "the engine is not idle after the held requests were cancelled")
    subject.still_works()
    return f"{room} admitted, 4 refused"


def _admitted(subject: Subject) -> float:
    return sum(subject.counters(*LOAD))


def waiting_requests_are_answered(subject: Subject) -> str:
    """More requests than max_active wait for their turn instead of failing, over one stream."""
    count = min(int(subject.settings["max_active"]) * 2, 64)
    if count > int(subject.settings["max_active"]) + int(subject.settings["max_waiting"]):
        raise Skipped("the engine lets no request wait")
    prompt = subject.prompt()
    pending = {f"waiting-{number}" for number in range(count)}
    with subject.client.open() as stream:
        for name in sorted(pending):
            inputs = subject.inputs(prompt, max_tokens=2)
            subject.client.request(stream, subject.name, inputs, request_id=name)
        while pending:
            try:
                name, reply, final = stream.receive()
            except TritonError as error:
                expect(False, f"a waiting request failed: {error}")
                raise
            if reply is not None:
                subject.follows(prompt, reply.ids, 2)
            if final:
                pending.discard(name)
    return f"{count} requests, {subject.settings['max_active']} at a time"
