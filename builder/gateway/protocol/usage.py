"""How many tokens an answer took."""

from __future__ import annotations

from dataclasses import dataclass

from builder.gateway.triton.hearing import Piece


class Usage:
    """Counts the tokens of one request: each prompt once, however many answers it gets."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._answers: dict[tuple[int, int], int] = {}

    def note(self, prompt: int, piece: Piece) -> None:
        """Note what a piece of an answer to a prompt tells."""
        self._prompts[prompt] = piece.input_tokens
        self._answers[prompt, piece.sequence] = piece.output_tokens

    def told(self) -> dict[str, int]:
        """Return it as OpenAI does."""
        prompt, answer = sum(self._prompts.values()), sum(self._answers.values())
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


@dataclass(frozen=True)
class Read:
    """Of a request that only reads."""

    tokens: int

    def told(self) -> dict[str, int]:
        """Return it as OpenAI does."""
        return {"prompt_tokens": self.tokens, "total_tokens": self.tokens}
