"""However an answer travels, in one piece or many, over gRPC or HTTP, it is the same answer."""

from __future__ import annotations

import time

from builder.golden import GoldenPrompt
from builder.subject import Subject, expect
from builder.triton_client import Answer

ORDER = 30
SCOPE = "generation"

TOKENS = 16
PROMPTS = 3

READING_TOKENS = 64
"""Enough to tell a stream from an answer that comes at the end."""

RESPONSES_A_SECOND = 8
"""How often a reader should see something new, where tokens come faster than that."""


def _compare(subject: Subject, ask: str) -> str:
    pieces = []
    for prompt in subject.golden.steady(PROMPTS, TOKENS):
        inputs = subject.inputs(prompt, max_tokens=TOKENS)
        if ask == "grpc":
            answer = subject.ask({**inputs, "stream": True})
        elif ask == "generate":
            answer = subject.good(subject.client.generate(subject.name, inputs))
        else:
            answer = subject.good(subject.client.generate_stream(subject.name, {**inputs, "stream": True}))
        whole = subject.whole(prompt, TOKENS)
        if subject.agree(prompt, answer.text(), whole.text()):
            _expect_equal(prompt, answer, whole)
        pieces.append(len(answer.replies))
    return f"{len(pieces)} prompts in {', '.join(map(str, pieces))} responses"


def _expect_equal(prompt: GoldenPrompt, answer: Answer, whole: Answer) -> None:
    for what, seen, expected in (
        ("ids", answer.ids(), whole.ids()),
        ("finish_reason", answer.finish_reason(), whole.finish_reason()),
    ):
        expect(seen == expected, f"prompt {prompt.id!r}: {what} {seen!r}, whole {expected!r}")


def grpc_stream_equals_whole(subject: Subject) -> str:
    """Text, ids and finish reason streamed over gRPC join to those of the unstreamed answer."""
    return _compare(subject, "grpc")


def generate_equals_whole(subject: Subject) -> str:
    """`generate` over plain HTTP answers like gRPC."""
    return _compare(subject, "generate")


def generate_stream_equals_whole(subject: Subject) -> str:
    """The events of `generate_stream` join to the unstreamed answer."""
    return _compare(subject, "generate_stream")


def ensemble_equals_front(subject: Subject) -> str:
    """NAME_ensemble, unstreamed, gives the front's text, finish reason and counts."""
    name = subject.companion("ensemble")
    prompts = [prompt for prompt in subject.golden.steady(PROMPTS, TOKENS) if _text_only(subject, prompt)]
    for prompt in prompts:
        inputs = {"text_input": prompt.text, "max_tokens": TOKENS}
        answer = subject.good(subject.client.stream(name, inputs))
        whole = subject.whole(prompt, TOKENS)
        told = f"prompt {prompt.id!r}: {answer.text()!r}, the front says {whole.text()!r}"
        if not subject.agree(prompt, answer.text(), whole.text(), told):
            continue
        for output in ("finish_reason", "num_input_tokens", "num_output_tokens"):
            seen, expected = answer.last(output), whole.last(output)
            expect(seen == expected, f"prompt {prompt.id!r}: {output} {seen!r}, the front says {expected!r}")
    return f"{len(prompts)} prompts"


def ensemble_stream_equals_front(subject: Subject) -> str:
    """NAME_ensemble, streamed over gRPC and over HTTP, joins to the front's text."""
    name = subject.companion("ensemble")
    prompts = [prompt for prompt in subject.golden.steady(PROMPTS, TOKENS) if _text_only(subject, prompt)]
    for prompt in prompts:
        inputs = {"text_input": prompt.text, "max_tokens": TOKENS, "stream": True}
        for answer in (subject.client.stream(name, inputs), subject.client.generate_stream(name, inputs)):
            seen, expected = subject.good(answer).text(), subject.whole(prompt, TOKENS).text()
            told = f"prompt {prompt.id!r}: {seen!r}, the front says {expected!r}"
            subject.agree(prompt, seen, expected, told)
    return f"{len(prompts)} prompts over both protocols"


def _text_only(subject: Subject, prompt: GoldenPrompt) -> bool:
    return "text_input" in subject.inputs(prompt)


def whole_is_one_response(subject: Subject) -> str:
    """Without `stream` there is exactly one response, then an empty final one."""
    answer = subject.whole(subject.prompt(tokens=TOKENS), TOKENS)
    expect(len(answer.replies) == 1, f"{len(answer.replies)} responses, expected 1")
    expect(answer.ended, "the stream was not marked as ended")
    return "1 response and the final mark"


def stream_is_many_responses(subject: Subject) -> str:
    """With `stream` text arrives as it is generated, not all at the end."""
    prompt = subject.prompt()
    tokens = min(READING_TOKENS, int(subject.settings["context_length"]) - len(prompt.input_ids))
    inputs = subject.inputs(prompt, max_tokens=tokens, min_tokens=tokens, stream=True)
    asked = time.monotonic()
    answer = subject.ask(inputs)
    seconds = time.monotonic() - asked
    count = len(answer.replies)
    # an engine may hold tokens back for as long as no reader notices
    wanted = min(tokens / 4, max(2, RESPONSES_A_SECOND * seconds))
    expect(
        count > wanted,
        f"{count} responses for {tokens} tokens in {seconds:.2f} s, expected more than {wanted:.0f}",
    )
    return f"{count} responses for {tokens} tokens in {seconds:.2f} s"


def responses_carry_context(subject: Subject) -> str:
    """context_ids of each streamed response are the up to 8 generated ids before its own."""
    seen: list[int] = []
    prompt = subject.prompt(tokens=TOKENS)
    answer = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, stream=True))
    for number, reply in enumerate(answer.replies):
        context = [int(token) for token in reply.outputs.get("context_ids", [])]
        expect(context == seen[-8:], f"response {number}: context_ids {context}, expected {seen[-8:]}")
        seen += reply.ids
    return f"{len(answer.replies)} responses"


def detokenizer_follows_stream(subject: Subject) -> str:
    """NAME_detokenizer over each response's context_ids and output_ids gives the streamed text."""
    name = subject.companion("detokenizer")
    prompt = subject.prompt(tokens=TOKENS)
    answer = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, stream=True))
    text = b""
    for reply in answer.replies:
        ids = {key: values for key in ("output_ids", "context_ids") if (values := reply.outputs.get(key))}
        if "output_ids" in ids:
            text += subject.client.infer(name, ids)["text_output"].item()
    expect(text.decode() == answer.text(), f"{text.decode()!r}, the front streamed {answer.text()!r}")
    return f"{len(answer.replies)} responses"
