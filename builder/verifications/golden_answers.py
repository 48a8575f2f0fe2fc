"""The recorded answers come back, whichever way the prompt is given."""

from __future__ import annotations

import json

from builder.golden import GoldenPrompt
from builder.subject import Mismatch, Skipped, Subject, expect, together
from builder.triton_client import Answer

ORDER = 20
SCOPE = "generation"
PATIENCE = 4

SHORT = 12


def golden_ids(subject: Subject) -> str:
    """Every golden prompt, streamed over gRPC beside others, gives its recorded ids."""
    parted = [
        prompt.id
        for prompt, answer in subject.recorded
        if not subject.follows(prompt, answer.ids(), prompt.max_tokens)
    ]
    tokens = sum(len(prompt.output_ids) for prompt, _ in subject.recorded)
    return f"{len(subject.recorded)} prompts, {tokens} ids, {_parted(subject, parted)}"


def _parted(subject: Subject, prompts: list[str]) -> str:
    if not prompts:
        return "no divergence"
    return f"{len(prompts)} parted at a gap <= {subject.golden.epsilon:g}: {', '.join(prompts)}"


def golden_text(subject: Subject) -> str:
    """The streamed pieces of every golden prompt join to its recorded text."""
    compared = 0
    for prompt, answer in _alike(subject):
        _expect_text(prompt, answer.text())
        compared += 1
    return f"{compared} texts"


def golden_finish_reasons(subject: Subject) -> str:
    """Every golden prompt ends for its recorded reason, given once, with its last response."""
    reasons: dict[str, int] = {}
    for prompt, answer in _alike(subject):
        *earlier, last = answer.reasons()
        expect(
            last == prompt.finish_reason,
            f"prompt {prompt.id!r}: finish_reason {last!r}, golden is {prompt.finish_reason!r}",
        )
        expect(not any(earlier), f"prompt {prompt.id!r}: finish_reason {earlier} before the last response")
        reasons[last] = reasons.get(last, 0) + 1
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))


def _alike(subject: Subject) -> list[tuple[GoldenPrompt, Answer]]:
    """Return the answers whose ids are the golden ones; a tie that fell the other way has another text."""
    alike = [
        (prompt, answer)
        for prompt, answer in subject.recorded
        if subject.visible(answer.ids()) == subject.visible(prompt.output_ids)
    ]
    expect(bool(alike), "not one answer has the golden ids")
    return alike


def _parting(seen: str, expected: str) -> str:
    index = next(
        (place for place, (one, other) in enumerate(zip(seen, expected, strict=False)) if one != other),
        min(len(seen), len(expected)),
    )
    start = max(0, index - 12)
    return f"text is {seen[start : index + 12]!r} where golden is {expected[start : index + 12]!r}"


def golden_messages(subject: Subject) -> str:
    """Chat messages render to the recorded prompt: as many input ids, and the same answer."""
    prompts = [prompt for prompt in subject.golden.prompts if prompt.messages is not None][:4]
    if not prompts:
        raise Skipped("no golden prompt has messages")
    for prompt in prompts:
        answer = subject.ask({"messages": json.dumps(prompt.messages), "max_tokens": SHORT})
        seen = answer.last("num_input_tokens")
        expect(
            seen == len(prompt.input_ids),
            f"prompt {prompt.id!r}: {seen} input ids, golden has {len(prompt.input_ids)}",
        )
        subject.follows(prompt, answer.ids(), SHORT)
    return f"{len(prompts)} chats"


def input_ids_equal_text(subject: Subject) -> str:
    """A prompt given as input_ids is answered like the same prompt given as text."""
    prompts = subject.golden.steady(3, SHORT)
    for prompt in prompts:
        answer = subject.ask({"input_ids": list(prompt.input_ids), "max_tokens": SHORT})
        text = subject.whole(prompt, SHORT)
        told = f"prompt {prompt.id!r}: {answer.text()!r} != {text.text()!r}"
        if subject.agree(prompt, answer.text(), text.text(), told):
            expect(answer.ids() == text.ids(), f"prompt {prompt.id!r}: {answer.ids()} != {text.ids()}")
    return f"{len(prompts)} prompts"


def tokenizer_ids(subject: Subject) -> str:
    """NAME_tokenizer turns golden texts, over HTTP and gRPC, into their recorded input ids."""
    name = subject.companion("tokenizer")
    prompts = [
        prompt
        for prompt in subject.golden.prompts
        if prompt.messages is None or tuple(subject.encode(prompt.text)) == prompt.input_ids
    ]
    for over in ("http", "grpc"):
        for prompt in prompts:
            answer = subject.client.infer(name, {"text_input": prompt.text}, over=over)
            ids = answer["input_ids"].reshape(-1).tolist()
            expect(ids == list(prompt.input_ids), f"prompt {prompt.id!r} over {over}: {ids[:8]}...")
            length = answer["input_lengths"].reshape(-1).tolist()
            expect(length == [len(ids)], f"prompt {prompt.id!r}: input_lengths {length} for {len(ids)} ids")
    return f"{len(prompts)} texts over both protocols"


def tokenizer_at_once(subject: Subject) -> str:
    """Texts of different lengths sent to NAME_tokenizer at the same moment keep their own ids."""
    name = subject.companion("tokenizer")
    texts = [f"{'word ' * (index % 7)}number {index}" for index in range(24)]

    def ask(text: str) -> list[list[int]]:
        ids: list[list[int]] = subject.client.infer(name, {"text_input": text})["input_ids"].tolist()
        return ids

    alone = [ask(text) for text in texts]
    at_once = together(ask, texts)
    for text, first, second in zip(texts, alone, at_once, strict=True):
        expect(second == first, f"{text!r}: {second} among others, {first} alone")
        expect(subject.decode(first[0]) == text, f"{text!r} came back as {subject.decode(first[0])!r}")
    return f"{len(texts)} texts"


def tokenizer_pads_rows(subject: Subject) -> str:
    """Rows of one tokenizer request are padded with pad_id to the longest, their lengths beside them."""
    from builder.triton_client import Raw

    name = subject.companion("tokenizer")
    texts = ["one", "one two three four five six", "one two"]
    batch = Raw("BYTES", (len(texts), 1), [text.encode() for text in texts])
    answer = subject.client.infer(name, {"text_input": batch})
    lengths = answer["input_lengths"].reshape(-1).tolist()
    rows = answer["input_ids"]
    expect(rows.shape == (len(texts), max(lengths)), f"input_ids has shape {rows.shape} for {lengths}")
    pad = subject.settings.get("pad_id")
    for text, row, length in zip(texts, rows.tolist(), lengths, strict=True):
        single = subject.client.infer(name, {"text_input": text})["input_ids"].reshape(-1).tolist()
        expect(row[:length] == single, f"{text!r}: row {row[:length]}, alone {single}")
        expect(all(token == pad for token in row[length:]), f"{text!r}: padding {row[length:]}, not {pad}")
    return f"lengths {lengths}"


def detokenizer_text(subject: Subject) -> str:
    """NAME_detokenizer turns golden output ids into their recorded text, whole and cut in two."""
    name = subject.companion("detokenizer")
    prompts = [prompt for prompt in subject.golden.prompts if subject.visible(prompt.output_ids)]
    for prompt in prompts:
        ids = subject.visible(prompt.output_ids)
        answer = subject.client.infer(name, {"output_ids": ids}, over="http")
        _expect_text(prompt, answer["text_output"].item().decode("utf-8", "replace"))
    for prompt in prompts[:4]:
        ids = subject.visible(prompt.output_ids)
        half = len(ids) // 2 or 1
        parts = [{"output_ids": ids[:half]}]
        if ids[half:]:
            parts.append({"output_ids": ids[half:], "context_ids": ids[max(0, half - 8) : half]})
        pieces = [subject.client.infer(name, part)["text_output"].item() for part in parts]
        _expect_text(prompt, b"".join(pieces).decode("utf-8", "replace"))
    return f"{len(prompts)} texts"


def _expect_text(prompt: GoldenPrompt, text: str) -> None:
    # bytes of no character are U+FFFD and an unfinished character is nothing; at the end golden drops both
    if text.rstrip("\ufffd") != prompt.output_text.rstrip("\ufffd"):
        raise Mismatch(f"prompt {prompt.id!r}: {_parting(text, prompt.output_text)}")
