"""Text to ids, many texts at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


class Encoder:
    """The tokenizer of a folder with tokenizer.json; `bos_id` is what its template may put first."""

    def __init__(self, folder: Path, bos_id: int | None) -> None:
        description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        self._tokenizer = _open(description)
        # Added tokens are what text could inject: without them the same text is only text.
        added = [token for token in description["added_tokens"] if not _is_space(token["content"])]
        self.added = tuple(sorted((token["content"] for token in added), key=len))[::-1]
        self._controls = frozenset(token["id"] for token in added)
        plain = _without(self.added, description)
        self._plain = _open(plain)
        following = _following(plain)
        self._following = self._plain if following == plain else _open(following)
        self._unknown = self._tokenizer.token_to_id(description["model"].get("unk_token") or "")
        # where added tokens are looked for in text as it is, nothing becomes one by normalising
        is_changed = any(token["normalized"] for token in added)
        self._normalizer = self._tokenizer.normalizer if is_changed else None
        self._bos = "" if bos_id is None else self._tokenizer.id_to_token(bos_id) or ""

        self.longest = max(map(len, self._tokenizer.get_vocab(with_added_tokens=True)))
        """The characters of the longest token."""

    @property
    def size(self) -> int:
        """Return the number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Return the ids of each text; special tokens written in a text are recognised.

        A text that begins with the BOS token's text already gets no second one.
        """
        adds = [self._adds(text, add_special_tokens) for text in texts]
        found: dict[int, list[int]] = {}
        for flag in set(adds):
            places = [place for place, add in enumerate(adds) if add is flag]
            encodings = self._tokenizer.encode_batch(
                [texts[place] for place in places], add_special_tokens=flag
            )
            found.update(zip(places, (encoding.ids for encoding in encodings), strict=True))
        return [found[place] for place in range(len(texts))]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of one text, by the thread that asks: waking the library's own costs more."""
        return list(self._tokenizer.encode(text, add_special_tokens=self._adds(text, add_special_tokens)).ids)

    def encode_plain(self, text: str) -> list[int]:
        """Return ids in which nothing is a special token, whatever the text says."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_around(self, text: str, disguised: str) -> list[int]:
        """Return the ids of a text in which only those added tokens count that `disguised` still has.

        Args:
            text: what is encoded.
            disguised: the same, as long, with other characters in the place of some.
        """
        ids: list[int] = []
        begun, plain = 0, self._plain
        for token, start, end in self._found(disguised):
            ids += [*plain.encode(text[begun:start], add_special_tokens=False).ids, token]
            begun, plain = end, self._following
        return [*ids, *plain.encode(text[begun:], add_special_tokens=False).ids]

    def _found(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield the added tokens of a text: id, start, and end with the spaces that it swallows."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            # the unknown token stands for characters too
            if token in self._controls and (token != self._unknown or text[start:end].strip() in self.added):
                yield token, start, end

    def controls(self, ids: Sequence[int]) -> list[int]:
        """Return the added tokens among ids, in their order."""
        return [token for token in ids if token in self._controls]

    def id_of(self, token: str) -> int:
        """Return the id of an added token."""
        found = self._tokenizer.token_to_id(token)
        assert found is not None
        return found

    def normalized(self, text: str) -> str:
        """Return a text as added tokens are looked for in it."""
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def _adds(self, text: str, asked: bool) -> bool:
        return asked and not (self._bos and text.startswith(self._bos))


def _is_space(token: str) -> bool:
    """Say whether an added token is a run of spaces or lines, which users may write."""
    return not token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


def _without(added: Sequence[str], description: dict[str, Any]) -> dict[str, Any]:
    """Return a tokenizer that cannot make any of the `added` tokens from text.

    Not to recognise them is not enough: SentencePiece's scores may imply merges that end in `<s>`.
    """
    model = dict(description["model"])
    # a model may need its unknown token, which stands for characters and not for its own spelling
    names = set(added) - {model.get("unk_token")}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: index for token, index in model["vocab"].items() if token not in names}
    else:
        last = min(score for _, score in model["vocab"]) - 1e4
        model["vocab"] = [[token, last if token in names else score] for token, score in model["vocab"]]
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)}.intersection(added)]
    return {**description, "model": model, "added_tokens": [], "post_processor": None}


def _following(description: dict[str, Any]) -> dict[str, Any]:
    """Return a tokenizer for text that follows a token: some put a space before the first text alone."""
    written = json.dumps(description["pre_tokenizer"])
    changed = json.loads(written.replace('"prepend_scheme": "first"', '"prepend_scheme": "never"'))
    return {**description, "pre_tokenizer": changed}


def _open(description: dict[str, object]) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
