"""Token ids to text, with constant work per token.

Every id stands for some bytes; text is those bytes as UTF-8. A character may be spread over several
tokens, so bytes that do not complete one yet are held back, and dropped when the text ends with them.
The bytes are read from tokenizer.json as Hugging Face's `tokenizers` would decode it.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT_IDS = 8
"""How many earlier ids a stateless decoder needs: an unfinished character is 3 bytes at the most, a
token that is not special is at least one, and a few special tokens may stand between."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_START = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every id; `strips_first_space` where the text's first space is the tokenizer's own."""

    table: Sequence[bytes]
    strips_first_space: bool

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read tokenizer.json; raise ValueError for a decoder that is not known here."""
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        decoder = tokenizer.get("decoder") or {"type": "none"}
        vocabulary = tokenizer["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: [token, score] in the order of the ids
            vocabulary = {token: index for index, (token, _) in enumerate(vocabulary)}
        tokens = {index: token for token, index in vocabulary.items()}
        tokens |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
        silent = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
        kinds = [part["type"] for part in decoder.get("decoders", [decoder])]
        if kinds == ["ByteLevel"]:
            bytes_of, strips = _byte_level, False
        elif set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
            bytes_of, strips = _sentence_piece, _strips(decoder)
        else:
            raise ValueError(
                f"{path} has the decoder {'+'.join(kinds)}; known are ByteLevel, SentencePiece's"
            )
        table = [b""] * (max(tokens) + 1)
        for index, token in tokens.items():
            if index not in silent:
                table[index] = bytes_of(token)
        return cls(table, strips)

    def bytes_of(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids one after another; ids outside the vocabulary have none."""
        table, size = self.table, len(self.table)
        return b"".join([table[index] for index in ids if 0 <= index < size])


class Decoder:
    """The text of one growing sequence of ids."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = vocabulary.strips_first_space

    def push(self, ids: Iterable[int]) -> str:
        """Return the characters that these ids complete."""
        data = self._vocabulary.bytes_of(ids)
        if self._at_start and data:
            self._at_start = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)


def decode(vocabulary: Vocabulary, ids: Sequence[int], context: Sequence[int] = ()) -> str:
    """Return the text that `ids` add after `context`, the ids right before them (none: the start).

    Needs no more than the last CONTEXT_IDS of them: a window that begins inside a character is in
    step again at the next one.
    """
    decoder = Decoder(vocabulary)
    decoder.push(context)
    return decoder.push(ids)


def _unicode_bytes() -> dict[str, int]:
    """Return the character that stands for each byte in byte-level BPE (openai/gpt-2, encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {chr(byte): byte for byte in printable}
    return shown | {chr(256 + place): byte for place, byte in enumerate(others)}


_UNICODE_BYTES = _unicode_bytes()


def _byte_level(token: str) -> bytes:
    values = [_UNICODE_BYTES.get(character) for character in token]
    known = [value for value in values if value is not None]
    return bytes(known) if len(known) == len(values) else token.encode()


def _sentence_piece(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_WORD_START, " ").encode()


def _strips(decoder: Mapping[str, Any]) -> bool:
    for part in decoder.get("decoders", [decoder]):
        if part["type"] == "Strip" and part.get("start"):
            return True
        if part["type"] == "Metaspace" and part.get("prepend_scheme", "always") != "never":
            return True
    return False
