"""Texts, or pairs of texts, to ids for a model that reads a limited number of tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

THREADS = 8
"""The most threads that encode a batch: 64 texts of 128 tokens take one thread 8 ms."""


class LimitedEncoder:
    """A tokenizer.json with its own template of special tokens, and a limit of our own.

    The file's truncation and padding are those of whoever saved it last and are ignored. With `truncate`
    the end of what is too long is cut off, or its beginning where tokenizer_config.json has a
    `truncation_side` of "left"; special tokens stay. Of a pair always the longer text loses a token next
    ("longest_first"), which is what `truncation=True` means to transformers and to sentence-transformers'
    CrossEncoder. Special tokens that are written in a text are recognised, as transformers recognises them.
    A tokenizer_config.json whose `model_input_names` lack token_type_ids means types of 0 (`tells_types`).
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open `folder`/tokenizer.json; `settings` holds max_tokens, truncate, pad_id, maybe lower_case."""
        self.max_tokens: int = settings["max_tokens"]
        self.pad_id: int = settings["pad_id"] or 0
        self.lower_case: bool = settings.get("lower_case", False)
        named = tokenizer_config(folder).get("model_input_names")
        self.tells_types: bool = named is None or "token_type_ids" in named
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if settings["truncate"]:
            side = tokenizer_config(folder).get("truncation_side") or "right"
            self.tokenizer.enable_truncation(self.max_tokens, direction=side)
        # older releases have only the one that computes offsets too, at a fifth more time
        self._fast = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)

    def encode(self, inputs: Sequence[Any], offsets: bool = False) -> list[Any]:
        """Return an Encoding, or the exception it ended in, for each text or pair of texts.

        An Encoding has `ids`, `type_ids`, `special_tokens_mask` and, if asked for, `offsets` in characters.
        """
        encode_batch = self.tokenizer.encode_batch if offsets else self._fast
        try:
            return list(encode_batch(inputs))
        except Exception:
            return [_alone(encode_batch, one) for one in inputs]

    def require(self, encoding: Any, where: str) -> None:
        """Raise ValueError unless an answer of `encode` has at least one token and keeps the limit."""
        if isinstance(encoding, Exception):
            raise ValueError(f"{where}: the tokenizer cannot encode the text: {encoding}")
        tokens = len(encoding)
        if tokens > self.max_tokens:
            raise ValueError(
                f"{where}: {tokens} tokens, the model reads at most {self.max_tokens}; shorten the text, or "
                "build with a recipe that says truncate = true"
            )
        if not tokens:
            raise ValueError(f"{where}: 0 tokens, the model needs at least 1; send a text that is not empty")


def allow_threads() -> None:
    """Let the tokenizers of this process use some of its processors, unless the environment says otherwise.

    To be called before the first batch is encoded. One text never uses more than the calling thread.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("RAYON_NUM_THREADS", str(min(THREADS, len(os.sched_getaffinity(0)))))


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json says, {} where there is none."""
    file = folder / "tokenizer_config.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _alone(encode_batch: Any, one: Any) -> Any:
    try:
        return encode_batch([one])[0]
    except Exception as error:
        return error
