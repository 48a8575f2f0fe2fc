"""Sampling parameters do what their names say, and greedy is greedy however it is asked for."""

from __future__ import annotations

import json
from typing import Any

from builder.golden import GoldenPrompt
from builder.subject import Skipped, Subject, expect

ORDER = 40
SCOPE = "generation"

TOKENS = 12
LETTERS = 3
"""Of a word that is forbidden, at least: a shorter one may be a part of others, which are not."""


def _ids(subject: Subject, max_tokens: int = TOKENS, **parameters: Any) -> list[int]:
    prompt = subject.prompt()
    return subject.visible(subject.ask(subject.inputs(prompt, max_tokens=max_tokens, **parameters)).ids())


def _equals_greedy(subject: Subject, **parameters: Any) -> str:
    greedy = subject.visible(subject.whole(subject.prompt(), TOKENS).ids())
    seen = _ids(subject, **parameters)
    told = f"{parameters}: {seen}, greedy is {greedy}"
    if subject.agree(subject.prompt(), subject.decode(seen), subject.decode(greedy), told):
        expect(seen == greedy, told)
    return f"{len(seen)} ids"


def temperature_zero_is_greedy(subject: Subject) -> str:
    """temperature 0 gives the greedy answer."""
    return _equals_greedy(subject, temperature=0.0)


def top_k_one_is_greedy(subject: Subject) -> str:
    """top_k 1 gives the greedy answer at any temperature."""
    return _equals_greedy(subject, top_k=1, temperature=5.0, seed=3)


def tiny_top_p_is_greedy(subject: Subject) -> str:
    """A top_p too small for two tokens gives the greedy answer."""
    return _equals_greedy(subject, top_p=1e-6, temperature=1.0, seed=3)


def min_p_one_is_greedy(subject: Subject) -> str:
    """min_p 1 keeps only the most likely token."""
    return _equals_greedy(subject, min_p=1.0, temperature=1.0, seed=3)


def same_seed_same_text(subject: Subject) -> str:
    """The same seed gives the same sampled ids, twice."""
    for seed in (1, 2**63 + 5):
        first, second = (_ids(subject, temperature=2.0, seed=seed) for _ in range(2))
        expect(first == second, f"seed {seed}: {first}, then {second}")
    return f"2 seeds, {TOKENS} tokens"


def different_seeds_differ(subject: Subject) -> str:
    """Different seeds sample different ids, and none of it is the greedy answer every time."""
    answers = {tuple(_ids(subject, temperature=2.0, seed=seed)) for seed in range(4)}
    expect(len(answers) > 1, "4 seeds at temperature 2 gave one answer")
    return f"{len(answers)} answers for 4 seeds"


def logit_bias_forces_token(subject: Subject) -> str:
    """A large logit_bias makes a token certain."""
    token = _rare_token(subject)
    seen = _ids(subject, max_tokens=4, logit_bias=json.dumps({str(token): 100.0}))
    expect(seen == [token] * 4, f"token {token} biased by 100: {seen}")
    return f"token {token} four times"


def logit_bias_forbids_token(subject: Subject) -> str:
    """A large negative logit_bias keeps the most likely token away."""
    token = subject.prompt().output_ids[0]
    seen = _ids(subject, max_tokens=4, logit_bias=json.dumps({str(token): -100.0}))
    expect(token not in seen, f"token {token} biased by -100: {seen}")
    return f"token {token} stayed away"


def _rare_token(subject: Subject) -> int:
    usual = set(subject.prompt().output_ids) | set(subject.end_ids)
    return next(token for token in subject.encode("zebra quartz violin") if token not in usual)


def bad_words_never_appear(subject: Subject) -> str:
    """A word of the greedy answer that is listed in bad_words is not generated."""
    prompt, word = _word(subject)
    expect(word in subject.whole(prompt, TOKENS).text(), f"the greedy answer has no {word!r}")
    text = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, bad_words=[word])).text()
    expect(word not in text, f"{word!r} is in {text!r}")
    return f"{word!r} stayed away"


def _word(subject: Subject) -> tuple[GoldenPrompt, str]:
    """Return a prompt and the longest word of its greedy answer; skip the check where none has any."""
    for prompt in subject.golden.steady(len(subject.golden.prompts), TOKENS):
        pieces = [subject.decode([token]).strip() for token in subject.visible(prompt.output_ids)[:TOKENS]]
        word = max(pieces, key=len, default="")
        if len(word) >= LETTERS:
            return prompt, word
    raise Skipped(f"no greedy answer has a word of {LETTERS} letters")


def repetition_penalty_is_applied(subject: Subject) -> str:
    """A prohibitive repetition_penalty lets no token come twice."""
    seen = _ids(subject, max_tokens=16, repetition_penalty=50.0)
    repeated = sorted({token for token in seen if seen.count(token) > 1})
    expect(not repeated, f"tokens {repeated} came more than once in {seen}")
    return f"{len(seen)} different tokens"


def several_sequences(subject: Subject) -> str:
    """num_return_sequences gives that many complete sequences, told apart by sequence_index."""
    prompt = subject.prompt()
    for stream in (False, True):
        inputs = subject.inputs(
            prompt, max_tokens=6, num_return_sequences=3, temperature=2.0, seed=7, stream=stream
        )
        answer = subject.ask(inputs)
        indices = sorted({reply.sequence for reply in answer.replies})
        expect(indices == [0, 1, 2], f"sequence_index {indices}, expected 0, 1 and 2 (stream {stream})")
        for index in indices:
            reason = answer.finish_reason(index)
            expect(reason in ("stop", "length"), f"sequence {index} ended with {reason!r}")
            expect(
                reason == "stop" or len(answer.ids(index)) == 6,
                f"sequence {index} has {len(answer.ids(index))} ids, expected 6",
            )
        different = {tuple(answer.ids(index)) for index in indices}
        expect(len(different) > 1, f"three sampled sequences are all {different}")
    return "3 sequences, whole and streamed"
