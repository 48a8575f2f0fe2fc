"""What the gate measured before anything was published is measured again, through the endpoint."""

from __future__ import annotations

import math

from builder.subject import Skipped, Subject, expect

ORDER = 25
SCOPE = "generation"

NEAR = 0.02
"""Nats a token by which a text may be likelier or less likely: batches are summed in another order."""


def held_out_texts(subject: Subject) -> str:
    """Held-out texts are as likely to the endpoint as they were to the raw artifact."""
    if not subject.golden.texts:
        raise Skipped("no held-out texts were recorded")
    apart = []
    for text in subject.golden.texts:
        inputs = {"input_ids": list(text.input_ids), "max_tokens": 1, "prompt_logprobs": True, "stream": True}
        answer = subject.client.stream(subject.name, inputs)
        if answer.error is not None and "does not support" in answer.error:
            raise Skipped(answer.error)
        values = [float(value) for value in subject.good(answer).values("prompt_log_probs")]
        following = len(text.input_ids) - 1
        expect(len(values) == following, f"{len(values)} prompt_log_probs for {following} tokens")
        apart.append((-math.fsum(values) - text.loss) / following)
        expect(
            abs(apart[-1]) <= NEAR,
            f"text {text.number}: {math.exp(apart[-1]):.4f} times the perplexity that the artifact had",
        )
    tokens = sum(len(text.input_ids) - 1 for text in subject.golden.texts)
    return f"{tokens} tokens, at most {math.exp(max(map(abs, apart))):.4f} times the artifact's perplexity"
