"""Sequences end where they were told to: by a word, by a count, by a token, and say why."""

from __future__ import annotations

from dataclasses import dataclass

from builder.golden import GoldenPrompt
from builder.subject import Skipped, Subject, expect

ORDER = 50
SCOPE = "generation"

TOKENS = 20


@dataclass(frozen=True)
class _Cut:
    """A stop word and the text that must remain before it."""

    prompt: GoldenPrompt
    word: str
    remains: str


def _cuts(subject: Subject, *, across: bool) -> list[_Cut]:
    """Return stop words taken from golden answers: one token, or two characters either side of a seam."""
    found = []
    for prompt in subject.golden.steady(len(subject.golden.prompts), TOKENS):
        ids = subject.visible(prompt.output_ids)[:TOKENS]
        text = subject.decode(ids)
        for index in range(3, len(ids) - 2):
            start, end = len(subject.decode(ids[:index])), len(subject.decode(ids[: index + 1]))
            first, last = (start - 2, start + 2) if across else (start, end)
            word = text[first:last]
            # a word that shows up earlier would cut earlier; one with half a character cannot be sent
            whole = last <= len(text) and "\ufffd" not in text[:last] and len(word.strip()) > 1
            if whole and text.find(word) == first:
                found.append(_Cut(prompt, word, text[:first]))
                break
    if not found:
        raise Skipped("no golden answer holds a word that occurs once")
    return found[:3]


def _expect_cut(subject: Subject, cut: _Cut, words: list[str], **more: bool) -> None:
    answer = subject.ask(subject.inputs(cut.prompt, max_tokens=TOKENS, stop_words=words, **more))
    told = f"prompt {cut.prompt.id!r} stopped by {words}: {answer.text()!r}, expected {cut.remains!r}"
    # an answer that a tie made another one need not hold the word
    if subject.agree(cut.prompt, answer.text(), cut.remains, told):
        reason = answer.finish_reason()
        expect(reason == "stop", f"stopped by {words}, finish_reason {reason!r}")


def stop_word_cuts_text(subject: Subject) -> str:
    """A stop word ends the answer, and the text ends right before it."""
    cuts = _cuts(subject, across=False)
    for cut in cuts:
        _expect_cut(subject, cut, [cut.word])
    return ", ".join(repr(cut.word) for cut in cuts)


def stop_word_across_tokens(subject: Subject) -> str:
    """A stop word that begins in one token and ends in the next is found as well."""
    cuts = _cuts(subject, across=True)
    for cut in cuts:
        _expect_cut(subject, cut, [cut.word])
    return ", ".join(repr(cut.word) for cut in cuts)


def stop_word_is_never_streamed(subject: Subject) -> str:
    """While streaming, text that may become a stop word is held back, so no part of it gets out."""
    cuts = _cuts(subject, across=True)
    for cut in cuts:
        _expect_cut(subject, cut, [cut.word], stream=True)
    return f"{len(cuts)} prompts"


def earliest_of_several_stop_words(subject: Subject) -> str:
    """Of several stop words, the one that comes first in the text counts, whatever their order."""
    cut = _cuts(subject, across=False)[0]
    text = subject.decode(cut.prompt.output_ids[:TOKENS])
    later = text[len(cut.remains) + len(cut.word) :][:6]
    _expect_cut(subject, cut, ["never said", later, cut.word])
    _expect_cut(subject, cut, [cut.word, later, "never said"])
    return f"{cut.word!r} before {later!r}"


def absent_stop_word_changes_nothing(subject: Subject) -> str:
    """Stop words that do not occur, or occur only in part, leave the whole answer, also at its very end."""
    prompt = subject.prompt(tokens=TOKENS)
    whole = subject.whole(prompt, TOKENS)
    words = ["never said", f"{whole.text()[-3:]}\u2603"]
    for stream in (False, True):
        inputs = subject.inputs(prompt, max_tokens=TOKENS, stop_words=words, stream=stream)
        answer = subject.ask(inputs)
        told = f"{answer.text()!r}, without stop words {whole.text()!r}"
        if not subject.agree(prompt, answer.text(), whole.text(), told):
            continue
        expect(answer.finish_reason() == whole.finish_reason(), f"finish_reason {answer.finish_reason()!r}")
    return f"{words} absent"


def max_tokens_is_exact(subject: Subject) -> str:
    """max_tokens 1, 2 and 7 give 1, 2 and 7 tokens."""
    prompt = subject.prompt()
    for count in (1, 2, 7):
        ids = subject.whole(prompt, count).ids()
        expect(len(ids) == count, f"max_tokens {count} gave {len(ids)} tokens: {ids}")
    return "1, 2 and 7"


def finish_reason_length(subject: Subject) -> str:
    """An answer cut by max_tokens says so."""
    answer = subject.whole(subject.prompt(), 7)
    expect(answer.finish_reason() == "length", f"finish_reason {answer.finish_reason()!r}, expected 'length'")
    return "length"


def end_id_stops(subject: Subject) -> str:
    """A token given as end_id ends the answer before its text, with finish_reason stop."""
    prompt, index = _first_of_its_kind(subject)
    answer = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, end_id=prompt.output_ids[index]))
    ids = [token for token in answer.ids() if token != prompt.output_ids[index]]
    golden = list(prompt.output_ids[:index])
    if not subject.agree(prompt, subject.decode(ids), subject.decode(golden), f"{ids}, expected {golden}"):
        raise Skipped("the answer parted at a tie before the token that should end it")
    expect(ids == golden, f"{ids}, expected {golden}")
    expect(answer.text() == subject.decode(ids), f"text {answer.text()!r}, expected {subject.decode(ids)!r}")
    expect(answer.finish_reason() == "stop", f"finish_reason {answer.finish_reason()!r}, expected 'stop'")
    return f"token {prompt.output_ids[index]} at place {index}"


def min_tokens_is_kept(subject: Subject) -> str:
    """min_tokens keeps an answer going past the token that would have ended it."""
    prompt, index = _first_of_its_kind(subject)
    end_id, least = prompt.output_ids[index], index + 4
    answer = subject.ask(subject.inputs(prompt, max_tokens=TOKENS, end_id=end_id, min_tokens=least))
    count = len([token for token in answer.ids() if token != end_id])
    expect(count >= least, f"{count} tokens, min_tokens was {least}")
    return f"{count} tokens, at least {least} asked for"


def _first_of_its_kind(subject: Subject) -> tuple[GoldenPrompt, int]:
    """Return a prompt and the place of an answer token that did not occur before it."""
    for prompt in subject.golden.steady(len(subject.golden.prompts), TOKENS):
        ids = subject.visible(prompt.output_ids)[:TOKENS]
        for index in range(3, len(ids) - 4):
            if ids[index] not in ids[:index] and "\ufffd" not in subject.tokenizer.decode(ids[:index]):
                return prompt, index
    raise Skipped("no golden answer has four tokens before a new one")
