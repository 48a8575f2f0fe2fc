"""The texts that scales are measured with, and those of a workload: lines of prompts or of chats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.calibration import likeness
from builder.errors import UsageError
from builder.prompt_lines import Prompt, read_line

SHIPPED = Path(__file__).parent / "shipped.jsonl"
"""Chats of several kinds and languages, for want of the user's own: those are always better."""

HELD_OUT = SHIPPED.with_name("held_out.jsonl")
"""Other texts than those, of the same kinds and more, that what was lost is measured on."""

LONGEST = 512
"""Tokens of a sequence that are used, as in ModelOpt's own examples."""

READ = 336
"""Tokens of a held-out text that are read: of the shipped 64 more than 20,000 in all, by any tokenizer."""

LEAST_TEXTS, LEAST_TOKENS = 32, 2048
"""Of fewer a warning is given. Scales are the largest inputs that were seen, and smoothing follows from them:
the shipped 35 texts, of about 3,400 tokens, are the fewest that SmolLM2's proofs have passed with."""

_LETTERS_OF_A_TOKEN = 4


@dataclass(frozen=True)
class Data:
    """A file of texts, and which file it was."""

    path: Path
    sha256: str
    prompts: tuple[Prompt, ...]
    option: str = "--calibration"

    @property
    def name(self) -> str:
        """What is recorded of the path: two machines record the same."""
        return "shipped" if self.path in (SHIPPED, HELD_OUT) else self.path.name

    def pieces(self) -> list[list[str]]:
        """Return the words and signs of each text."""
        return [likeness.pieces(_text(prompt)) for prompt in self.prompts]


def read(path: Path = SHIPPED, option: str = "--calibration") -> Data:
    """Read the file of an option; raise UsageError naming the bad line, or for texts of no language."""
    try:
        raw = path.read_bytes()
        lines = raw.decode().splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"{option} {path}: {failure}", expected="a file of JSON lines") from failure
    prompts = tuple(
        _prompt(option, path, number, line) for number, line in enumerate(lines, 1) if line.strip()
    )
    if not prompts:
        raise UsageError(
            f"{option} {path} holds no text",
            expected='lines such as {"prompt": "..."}, some hundred of them',
            remedy=f"leave {option} out" + " for the texts that are shipped" * (option != "--workload"),
        )
    data = Data(path, hashlib.sha256(raw).hexdigest(), prompts, option)
    _require_language(option, data)
    return data


def first(data: Data, samples: int) -> Data:
    """Return that many of the texts, the first ones, or all for 0; raise UsageError where there are fewer."""
    if samples > len(data.prompts):
        raise UsageError(
            f"{data.option}-samples {samples:,}: {data.name} holds {len(data.prompts):,} texts",
            expected=f"at most {len(data.prompts):,}",
            remedy=f"give a file with more by {data.option}, or leave {data.option}-samples out for all",
        )
    return replace(data, prompts=data.prompts[:samples]) if samples else data


def _prompt(option: str, path: Path, number: int, line: str) -> Prompt:
    found = read_line(option, path, number, line)
    if not found:
        raise UsageError(f"{option} {path}, line {number}: {line[:80]}", expected="a text, not an empty one")
    return found


def _require_language(option: str, data: Data) -> None:
    """Raise UsageError for random tokens or letters: inputs of no workload, so scales for none."""
    found = likeness.disorder(data.pieces())
    if found > likeness.NO_LANGUAGE:
        raise UsageError(
            f"{option} {data.path}: its texts are of no language: half of their words diverges by "
            f"{found:.2f} bits from the rest, of random tokens by 0.87",
            expected=f"at most {likeness.NO_LANGUAGE}, as of chats, prose and programs: they repeat words",
            remedy="give texts like those that will be asked, not random ones",
        )


def sequences(data: Data, tokenizer: Any, longest: int = LONGEST) -> list[list[int]]:
    """Return the token ids of each text, cut to `longest`.

    Args:
        data: the texts.
        tokenizer: transformers'; chats are rendered by its template, where it has one.
        longest: in tokens.

    Raises:
        UsageError: messages that the template refuses, or no token in any text.
    """
    found = [ids[:longest] for ids in _encoded(data, tokenizer)]
    if not any(found):
        raise UsageError(f"{data.option} {data.path}: no token in all of its texts", expected="texts")
    return [ids for ids in found if ids]


def _encoded(data: Data, tokenizer: Any) -> Iterator[list[int]]:
    for number, prompt in enumerate(data.prompts, 1):
        if isinstance(prompt, str) or tokenizer.chat_template is None:
            yield list(tokenizer(_text(prompt))["input_ids"])
            continue
        try:
            rendered = tokenizer.apply_chat_template(prompt, tokenize=False)
        except Exception as failure:
            # whatever a template raises, it is of this chat
            raise UsageError(
                f"{data.option} {data.path}, text {number}: the model's chat template refuses it: {failure}",
                expected="roles and contents that the model knows",
            ) from failure
        yield list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def _text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(message.get("content") or "") for message in prompt)


def doubt(data: Data, found: Sequence[Sequence[int]] | None = None) -> str:
    """Return what there is too little of, with the numbers, "" where there is enough.

    What stands there again counts once: it shows no input that was not seen before.

    Args:
        data: the texts.
        found: their token ids, None where no tokenizer is at hand and letters are counted.
    """
    if found is None:
        unlike: set[Any] = {_text(one)[: LONGEST * _LETTERS_OF_A_TOKEN].strip() for one in data.prompts}
        about, tokens = "about ", max(1, sum(map(len, unlike)) // _LETTERS_OF_A_TOKEN)
    else:
        unlike = set(map(tuple, found))
        about, tokens = "", sum(map(len, unlike))
    texts, again = len(unlike), len(data.prompts if found is None else found) - len(unlike)
    if texts >= LEAST_TEXTS and tokens >= LEAST_TOKENS:
        return ""
    repeated = f", and {again:,} that are the same again" if again else ""
    return (
        f"scales are measured with {texts:,} text{'s' * (texts != 1)} of {about}{tokens:,} tokens in all"
        f"{repeated}, which is little: below {LEAST_TEXTS} texts or {LEAST_TOKENS:,} tokens inputs of "
        "other texts may be larger than any seen, and are cut off; give --calibration some hundred like "
        "those that will be asked"
    )


def described(data: Data, found: Sequence[Sequence[int]], longest: int = LONGEST) -> dict[str, Any]:
    """Return what is recorded of the data."""
    doubted = doubt(data, found)
    return {
        "file": data.name,
        "sha256": data.sha256,
        "sequences": len(found),
        "tokens": sum(map(len, found)),
        "longest": longest,
        **({"warning": doubted} if doubted else {}),
    }
