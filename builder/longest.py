"""Longest: inputs of exactly as many tokens as one likes, made with a folder's own tokenizer, run here."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from builder.recorded import DOCUMENTS, QUERY, TEXT, Row
from builder.single_pass import SinglePass
from builder.subject import Skipped

_WORDS = ("the", "a", "1", "x", "東")
"""One of them is one token each time it comes again, in any vocabulary known so far."""


class Longest:
    """How many tokens a text may have in a front's deployment, and inputs of any number of them.

    Raises Skipped for a front that takes no text.
    """

    def __init__(self, subject: SinglePass) -> None:
        self._inputs = subject.texts()
        home = subject.folder.parents[1] / f"{subject.name}_tokenizer"
        versions = [int(folder.name) for folder in home.glob("*") if folder.name.isdecimal()]
        if not versions:
            raise Skipped(f"the repository holds no {home.name}")
        self._folder = home / str(max(versions))
        settings = json.loads((self._folder / "settings.json").read_text(encoding="utf-8"))
        self.most: int = settings["max_tokens"]
        self.truncates: bool = settings["truncate"]

    def row(self, tokens: int) -> Row:
        """Return inputs of so many tokens; skip the check where none of a few words makes just as many."""
        for word in _WORDS:
            first, second = self._count(word), self._count(f"{word} {word}")
            step = max(1, second - first)
            text = " ".join([word] * (1 + max(0, tokens - first) // step))
            if self._count(text) == tokens:
                return {TEXT: [text]} if TEXT in self._inputs else {QUERY: [word], DOCUMENTS: [text]}
        raise Skipped(f"no text of exactly {tokens} tokens was found")

    def _count(self, text: str) -> int:
        """Return the tokens of a text, or of a pair with the text's first word as the query."""
        if TEXT in self._inputs:
            return len(self._tokenizer.encode(text).ids)
        return len(self._tokenizer.encode(text.split()[0], text).ids)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer" / "tokenizer.json"))
        # the limit is the settings', and these are of whoever saved the file
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
