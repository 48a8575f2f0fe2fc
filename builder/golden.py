"""Golden: the answers recorded at build time, and how near each of them was to another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import VerifyError


@dataclass(frozen=True)
class GoldenPrompt:
    """One greedy answer of the raw artifact; `gaps` holds top-1 minus top-2 logit for every generated id."""

    id: str
    text: str
    messages: Any
    input_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    output_text: str
    finish_reason: str
    max_tokens: int
    gaps: tuple[float, ...]

    def narrowest(self, tokens: int) -> float:
        """Return the smallest gap among the first `tokens` ids: how easily rounding could change them."""
        return min(self.gaps[:tokens], default=0.0)


@dataclass(frozen=True)
class GoldenText:
    """A held-out text as the raw artifact read it.

    `loss` is the sum of -log p over its tokens behind the first, in nats; `number` its place among the texts.
    """

    number: int
    input_ids: tuple[int, ...]
    loss: float


@dataclass(frozen=True)
class Golden:
    """What golden.json of one version folder holds."""

    epsilon: float
    prompts: tuple[GoldenPrompt, ...]
    texts: tuple[GoldenText, ...] = ()

    def steady(self, count: int, tokens: int) -> list[GoldenPrompt]:
        """Return the prompts whose first `tokens` ids nothing but a fault can change.

        Long answers come first, and among these short prompts, which are read sooner.
        """
        fit = [prompt for prompt in self.prompts if prompt.narrowest(tokens) > self.epsilon]
        if len(fit) < count:
            fit = sorted(self.prompts, key=lambda prompt: -prompt.narrowest(tokens))[:count]

        def order(prompt: GoldenPrompt) -> tuple[int, int]:
            return -min(len(prompt.output_ids), tokens), len(prompt.input_ids)

        return sorted(fit, key=order)[:count]


def kind(path: Path) -> str:
    """Return the kind of pipeline that a golden.json was recorded of; without a word it is a generation."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("kind", "generation"))
    except (OSError, ValueError, AttributeError):
        # whoever reads it whole says what is wrong with it
        return "generation"


def read_golden(path: Path) -> Golden:
    """Read golden.json; raise VerifyError when it is absent or not of a format known here."""
    try:
        fields = json.loads(path.read_text())
        if fields["format"] != 1:
            raise VerifyError(f"{path} has format {fields['format']}", expected="format 1")
        return Golden(
            float(fields["epsilon"]),
            tuple(_prompt(prompt) for prompt in fields["prompts"]),
            # those of before have none
            tuple(_text(text) for text in fields.get("texts", ())),
        )
    except FileNotFoundError as error:
        raise VerifyError(
            f"{path} does not exist", expected="golden answers beside manifest.json", remedy="builder build"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise VerifyError(
            f"{path} cannot be read: {type(error).__name__}: {error}", remedy="builder build"
        ) from error


def _prompt(fields: dict[str, Any]) -> GoldenPrompt:
    return GoldenPrompt(
        id=str(fields["id"]),
        text=str(fields["text"]),
        messages=fields["messages"],
        input_ids=tuple(fields["input_ids"]),
        output_ids=tuple(fields["output_ids"]),
        output_text=str(fields["output_text"]),
        finish_reason=str(fields["finish_reason"]),
        max_tokens=int(fields["max_tokens"]),
        gaps=tuple(fields["gaps"]),
    )


def _text(fields: dict[str, Any]) -> GoldenText:
    return GoldenText(int(fields["number"]), tuple(fields["input_ids"]), float(fields["loss"]))


def first_difference(left: Sequence[object], right: Sequence[object]) -> int | None:
    """Return the first index at which two sequences differ, None when they are equal."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return None if len(left) == len(right) else min(len(left), len(right))


def parting_gap(told: Sequence[str], gaps: Sequence[float], text: str) -> float | None:
    """Return the gap at the token where a text leaves the golden one, None where one begins with the other.

    The token that differs may begin with all of the golden one's text, and be seen to differ only right
    behind it: of the token that begins there and the one before it the smaller gap counts.

    Args:
        told: the golden text after each of its tokens.
        gaps: top-1 minus top-2 logit of each.
    """
    golden = told[-1] if told else ""
    place = first_difference(golden, text)
    if place is None or place in (len(golden), len(text)):
        return None
    index = next(index for index, begun in enumerate(told) if len(begun) > place)
    begins = index > 0 and len(told[index - 1]) == place
    return min(gaps[index - begins : index + 1])
