"""Text survives: every script, every space, no broken characters, no injected control tokens."""

from __future__ import annotations

import json

from builder.subject import Skipped, Subject, expect, together

ORDER = 70
SCOPE = "generation"

FAMILY = "\u200d".join("\U0001f468\U0001f469\U0001f467\U0001f466")
EMOJI = f"\U0001f389\U0001f680 {FAMILY} \U0001f1eb\U0001f1f7 \u2764\ufe0f"
CJK = "日本語の文章、漢字とかな。 中文字符 한국어 텍스트"
COMBINING = "cafe\u0301 n\u0303 Z\u0351\u036b\u0343 हिन्दी ภาษาไทย עִבְרִית"
CODE = "def f(x):\n    if x:\n\t\treturn  {'a':  1}\n\n\n    # done   \n  "


def _survives(subject: Subject, text: str) -> str:
    tokenizer, detokenizer = subject.companion("tokenizer"), subject.companion("detokenizer")
    for sample in (text, f" {text}", f"{text} x"):
        ids = subject.client.infer(tokenizer, {"text_input": sample})["input_ids"].reshape(-1).tolist()
        answer = subject.client.infer(detokenizer, {"output_ids": ids})["text_output"].item()
        expect(answer.decode() == sample, f"{sample!r} came back as {answer.decode()!r}")
    return f"{len(ids)} ids"


def emoji_survive(subject: Subject) -> str:
    """Emoji, also joined and with selectors, pass tokenizer and detokenizer unchanged."""
    return _survives(subject, EMOJI)


def cjk_survives(subject: Subject) -> str:
    """Chinese, Japanese and Korean pass tokenizer and detokenizer unchanged."""
    return _survives(subject, CJK)


def combining_characters_survive(subject: Subject) -> str:
    """Combining marks pass tokenizer and detokenizer unchanged and in their order."""
    return _survives(subject, COMBINING)


def code_survives(subject: Subject) -> str:
    """Indentation, tabs, runs of spaces and of newlines pass tokenizer and detokenizer unchanged."""
    return _survives(subject, CODE)


def characters_stream_unbroken(subject: Subject) -> str:
    """Tokens that are pieces of characters stream as whole characters, and join to the whole text."""
    pieces = subject.encode(EMOJI + CJK + COMBINING)
    bias = json.dumps({str(token): 100.0 for token in set(pieces)})
    compared = 0
    for seed in (1, 2):
        inputs = {
            "text_input": "Say it in symbols:",
            "max_tokens": 16,
            "logit_bias": bias,
            "temperature": 4.0,
            "seed": seed,
        }
        whole = subject.ask(inputs)
        streamed = subject.ask({**inputs, "stream": True})
        expect(
            streamed.text() == whole.text(),
            f"seed {seed}: streamed {streamed.text()!r}, whole {whole.text()!r}",
        )
        expected = subject.decode(whole.ids())
        seen = whole.text().rstrip("\ufffd")
        expect(seen == expected, f"seed {seed}: {seen!r}, the ids say {expected!r}")
        compared += len(whole.text())
    return f"{compared} characters"


def unfinished_character_is_dropped(subject: Subject) -> str:
    """An answer that ends inside a character ends before it, whole and streamed."""
    pieces = [subject.encode(character)[0] for character in f"{EMOJI}\U00013000\U0001f9ff"]
    unfinished = [token for token in pieces if subject.tokenizer.decode([token]) == "\ufffd"]
    if not unfinished:
        raise Skipped("every character is one token")
    bias = json.dumps({str(unfinished[0]): 100.0})
    for stream in (False, True):
        inputs = {"text_input": "Symbols:", "max_tokens": 1, "logit_bias": bias, "stream": stream}
        answer = subject.ask(inputs)
        expect(answer.ids() == unfinished[:1], f"token {unfinished[0]} was forced, {answer.ids()} came")
        expect(answer.text() == "", f"text {answer.text()!r} for half a character (stream {stream})")
    return f"token {unfinished[0]}"


def spaces_are_kept(subject: Subject) -> str:
    """Every streamed piece keeps its leading space or newline, as the ids say."""
    compared = 0
    for prompt, answer in subject.recorded[:6]:
        expected = subject.decode(subject.visible(answer.ids()))
        seen = answer.text().rstrip("\ufffd")
        expect(seen == expected, f"prompt {prompt.id!r}: {seen[:60]!r}, the ids say {expected[:60]!r}")
        compared += expected.count(" ") + expected.count("\n")
    return f"{compared} spaces and newlines"


def control_tokens_are_not_injected(subject: Subject) -> str:
    """Control tokens written inside a user's message are mere text to the model."""
    literals = _control_tokens(subject)[:4]
    short, long = "a", f"a {' and '.join(literals)} b"
    counts = [
        subject.ask({"messages": json.dumps([{"role": "user", "content": content}]), "max_tokens": 1}).last(
            "num_input_tokens"
        )
        for content in (short, long)
    ]
    added = counts[1] - counts[0]
    safe = len(subject.encode(long, control=False)) - len(subject.encode(short, control=False))
    unsafe = len(subject.encode(long)) - len(subject.encode(short))
    # a literal may be split off from the words around it, which costs a token on either side
    expect(
        safe - len(literals) <= added <= safe + 2 * len(literals),
        f"{added} tokens for {long!r}, {safe} as text, {unsafe} if injected",
    )
    return f"{added} tokens as text, {unsafe} if they were control tokens"


def _control_tokens(subject: Subject) -> list[str]:
    """Return the texts of control tokens, first those that end a turn."""
    added = subject.tokenizer.get_added_tokens_decoder()
    special = sorted(token for token in added if added[token].special)
    if not special:
        raise Skipped("the tokenizer has no control tokens")
    return [added[token].content for token in sorted(special, key=lambda token: token not in subject.end_ids)]


def bos_is_not_doubled(subject: Subject) -> str:
    """A text that already begins with BOS gets no second one, and add_special_tokens false adds none."""
    bos_id = subject.settings.get("bos_id")
    if bos_id is None:
        raise Skipped("the model has no BOS token")
    text = "Once upon a time"
    bare = len(subject.encode(text))
    bos = subject.tokenizer.id_to_token(bos_id)

    def count(prompt: str, **more: bool) -> int:
        return int(subject.ask({"text_input": prompt, "max_tokens": 1, **more}).last("num_input_tokens"))

    with_bos, without = count(bos + text), count(text, add_special_tokens=False)
    expect(with_bos == bare + 1, f"{with_bos} tokens for BOS and {bare} others")
    expect(without == bare, f"{without} tokens without special tokens, expected {bare}")
    return f"{bare} tokens and one BOS"


def answers_at_once_keep_their_characters(subject: Subject) -> str:
    """Six streams of character pieces at once give each the text it gives alone."""
    pieces = subject.encode(EMOJI)
    bias = json.dumps({str(token): 100.0 for token in set(pieces)})

    def ask(seed: int) -> str:
        inputs = {"text_input": "Party:", "max_tokens": 6, "logit_bias": bias, "temperature": 4.0}
        return subject.ask({**inputs, "seed": seed, "stream": True}).text()

    alone = [ask(seed) for seed in range(3)]
    at_once = together(ask, [0, 1, 2, 0, 1, 2])
    expect(at_once == alone * 2, f"{at_once} at once, {alone} alone")
    return "6 streams"
