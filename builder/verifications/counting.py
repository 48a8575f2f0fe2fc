"""What is said about an answer is true of it: counts, probabilities, the echoed prompt."""

from __future__ import annotations

import math

from builder.subject import Skipped, Subject, expect

ORDER = 60
SCOPE = "generation"

TOKENS = 12
TOPS = 5


def input_tokens_are_counted(subject: Subject) -> str:
    """num_input_tokens is the number of ids of the prompt."""
    prompts = subject.golden.steady(4, TOKENS)
    for prompt in prompts:
        seen = subject.whole(prompt, TOKENS).last("num_input_tokens")
        expect(
            seen == len(prompt.input_ids),
            f"prompt {prompt.id!r}: {seen} input tokens, golden has {len(prompt.input_ids)}",
        )
    return f"{len(prompts)} prompts"


def output_tokens_are_counted(subject: Subject) -> str:
    """num_output_tokens is the number of ids generated, whole and with the last streamed response."""
    prompt = subject.prompt()
    streamed = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, stream=True))
    for answer in (subject.whole(prompt, TOKENS), streamed):
        seen = answer.last("num_output_tokens")
        expect(seen == len(answer.ids()), f"{seen} output tokens said, {len(answer.ids())} ids sent")
    return f"{streamed.last('num_output_tokens')} tokens"


def log_probs_are_probabilities(subject: Subject) -> str:
    """output_log_probs holds one finite number <= 0 per token, and cum_log_probs their sum."""
    prompt = subject.prompt()
    for stream in (False, True):
        answer = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, return_log_probs=True, stream=stream))
        values = [float(value) for value in answer.values("output_log_probs")]
        expect(
            len(values) == len(answer.ids()),
            f"{len(values)} output_log_probs for {len(answer.ids())} ids",
        )
        bad = [value for value in values if not math.isfinite(value) or value > 1e-4]
        expect(not bad, f"output_log_probs holds {bad}")
        cumulative = float(answer.last("cum_log_probs"))
        expect(
            math.isclose(cumulative, sum(values), rel_tol=1e-3, abs_tol=1e-2),
            f"cum_log_probs {cumulative:.4f}, the sum is {sum(values):.4f}",
        )
    return f"{len(values)} tokens, sum {cumulative:.2f}"


def greedy_tokens_are_likeliest(subject: Subject) -> str:
    """The greedy token is likelier than the one that takes its place when it is forbidden."""
    prompt = subject.prompt()
    greedy = subject.ask(subject.inputs(prompt, max_tokens=1, return_log_probs=True))
    banned = f'{{"{prompt.output_ids[0]}": -100}}'
    second = subject.ask(subject.inputs(prompt, max_tokens=1, return_log_probs=True, logit_bias=banned))
    first, other = (float(answer.values("output_log_probs")[0]) for answer in (greedy, second))
    expect(second.ids() != greedy.ids(), "the forbidden token came all the same")
    expect(other < first, f"log probability {first:.2f} for the greedy token, {other:.2f} for another")
    return f"greedy {first:.2f}, the next best {other:.2f}"


def top_log_probs_lead_with_the_greedy_token(subject: Subject) -> str:
    """top_logprobs gives for each token so many ids, likeliest first, the greedy one before all others."""
    prompt = subject.prompt()
    inputs = subject.inputs(prompt, max_tokens=TOKENS, return_log_probs=True, top_logprobs=TOPS, stream=True)
    answer = subject.client.stream(subject.name, inputs)
    if answer.error is not None and "does not support" in answer.error:
        raise Skipped(answer.error)
    tokens = len(subject.good(answer).ids())
    ids, values = answer.values("output_top_ids"), answer.values("output_top_log_probs")
    expect(
        len(ids) == len(values) == TOPS * tokens,
        f"{len(ids)} ids and {len(values)} log probabilities for {tokens} tokens, {TOPS} of each expected",
    )
    chosen = [float(value) for value in answer.values("output_log_probs")]
    for place in range(tokens):
        top = [float(value) for value in values[place * TOPS : (place + 1) * TOPS]]
        expect(top == sorted(top, reverse=True), f"token {place}: {top} is not likeliest first")
        # rounding may make equals of the best two
        close = math.isclose(top[0], chosen[place], abs_tol=1e-3)
        expect(close, f"token {place}: {chosen[place]:.4f} was chosen, {top[0]:.4f} is the likeliest")
    first = [int(one) for one in ids[::TOPS]]
    same = sum(one == token for one, token in zip(first, answer.ids(), strict=True))
    return f"{tokens} tokens, {same} of them the likeliest"


def prompt_log_probs(subject: Subject) -> str:
    """prompt_logprobs gives one finite number <= 0 for every prompt token after the first."""
    prompt = subject.prompt(tokens=1)
    answer = subject.client.stream(subject.name, subject.inputs(prompt, max_tokens=1, prompt_logprobs=True))
    if answer.error is not None and "does not support" in answer.error:
        raise Skipped(answer.error)
    values = [float(value) for value in subject.good(answer).values("prompt_log_probs")]
    expected = len(prompt.input_ids) - 1
    expect(len(values) == expected, f"{len(values)} prompt_log_probs, expected {expected}")
    bad = [value for value in values if not math.isfinite(value) or value > 1e-4]
    expect(not bad, f"prompt_log_probs holds {bad}")
    return f"{len(values)} tokens"


def prompt_is_echoed(subject: Subject) -> str:
    """exclude_input_in_output false puts the prompt before the answer, whole and streamed; true does not."""
    text = "Unicode \U0001f389 日本語 e\u0301 stays"
    plain = subject.ask({"text_input": text, "max_tokens": 4})
    for stream in (False, True):
        inputs = {"text_input": text, "max_tokens": 4, "exclude_input_in_output": False, "stream": stream}
        echoed = subject.ask(inputs)
        expect(
            echoed.text() == text + plain.text(),
            f"{echoed.text()!r}, expected {text + plain.text()!r} (stream {stream})",
        )
    excluded = subject.ask({"text_input": text, "max_tokens": 4, "exclude_input_in_output": True})
    expect(excluded.text() == plain.text(), f"{excluded.text()!r}, expected {plain.text()!r}")
    return f"{len(text)} characters before the answer"
